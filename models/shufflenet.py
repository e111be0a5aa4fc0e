"""ShuffleNetV2 at width 1.0, with torchvision's layer names so that its state dicts load.

Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
ECCV 2018 (2.3 M params, 146 M MACs).

Shape:
    input (N, 3, 224, 224), output (N, 1000); any side of at least 32 works.

| network | params | MACs |
|---|---|---|
| ShuffleNetV2 x1.0 | 2,278,604 | 144,907,992 |

Deviations: none known; the paper's 146 M count about 1 % of work outside the convolutions.
"""

import torch
from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming


def shuffle_channels(x: Tensor, parts: int) -> Tensor:
    """Interleave ``parts`` equal slices of the channels.

    Shape:
        input and output (N, C, H, W), C divisible by parts.
    """
    batch, channels, height, width = x.shape
    x = x.view(batch, parts, channels // parts, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


def filter_branch(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """Return pointwise, depthwise 3x3, pointwise."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class SplitUnit(nn.Module):
    """Half of the channels pass, the other half is filtered; then the halves are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch2 = filter_branch(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        passed, filtered = x.chunk(2, dim=1)
        return shuffle_channels(torch.cat((passed, self.branch2(filtered)), 1), 2)


class DownUnit(nn.Module):
    """Both branches filter all channels and halve the image; then they are shuffled."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        width = channels // 2
        self.branch1 = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, 2, 1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.branch2 = filter_branch(in_channels, width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / 2, W / 2)."""
        return shuffle_channels(torch.cat((self.branch1(x), self.branch2(x)), 1), 2)


def make_stage(in_channels: int, channels: int, units: int) -> nn.Sequential:
    """Return one stage: a unit that halves the image, then split units."""
    return nn.Sequential(
        DownUnit(in_channels, channels), *(SplitUnit(channels) for _ in range(units - 1))
    )


class ShuffleNetV2(nn.Module):
    """A strided stem, three stages and a 1x1 head: conv1, stage2 to stage4, conv5, fc.

    Args:
        widths: channels of the three stages.
    """

    def __init__(self, widths: tuple[int, int, int], num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)
        )
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.stage2 = make_stage(24, widths[0], 4)
        self.stage3 = make_stage(widths[0], widths[1], 8)
        self.stage4 = make_stage(widths[1], widths[2], 4)
        self.conv5 = nn.Sequential(
            nn.Conv2d(widths[2], 1024, 1, bias=False), nn.BatchNorm2d(1024), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(1024, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 224, 224) to logits (N, num_classes)."""
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def shufflenet_v2_x1_0(num_classes: int = 1000) -> ShuffleNetV2:
    """Build ShuffleNetV2 at width 1.0."""
    return ShuffleNetV2((116, 232, 464), num_classes)
