"""ResNets for ImageNet, with torchvision's layer names so that its state dicts load.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

Shape:
    input (N, 3, 224, 224), output (N, 1000); any side of at least 32 works.

| network | params | MACs |
|---|---|---|
| ResNet-18 | 11,689,512 | 1,814,073,344 |
| ResNet-34 | 21,797,672 | 3,663,761,408 |
| ResNet-50 | 25,557,032 | 4,089,184,256 |

Deviations: ResNet-50 halves the image in its 3x3 convolution instead of the first 1x1 ("v1.5", as
torchvision and the pruning papers do), hence 4.1e9 MACs and not the paper's 3.8e9.
"""

from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming


def project(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Return the 1x1 projection of a shortcut, or None where the shapes already agree."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the output has ``width`` channels."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = project(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = out + shortcut
        activated: Tensor = self.relu(out)
        return activated


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolutions; the output has ``4 * width`` channels."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = project(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, 4 * width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = out + shortcut
        activated: Tensor = self.relu(out)
        return activated


def make_stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    width: int,
    blocks: int,
    stride: int,
) -> nn.Sequential:
    """Return one stage: a first block that may change the shape, then identical ones."""
    first = block(in_channels, width, stride)
    rest = (block(width * block.expansion, width) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class ResNet(nn.Module):
    """A 7x7 stem with max pooling and four stages: conv1, bn1, layer1 to layer4, fc.

    Args:
        block: BasicBlock or Bottleneck.
        blocks: residual blocks in each of the four stages.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, int, int, int],
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        grown = block.expansion
        self.layer1 = make_stage(block, 64, 64, blocks[0], 1)
        self.layer2 = make_stage(block, 64 * grown, 128, blocks[1], 2)
        self.layer3 = make_stage(block, 128 * grown, 256, blocks[2], 2)
        self.layer4 = make_stage(block, 256 * grown, 512, blocks[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * grown, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 224, 224) to logits (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def resnet18(num_classes: int = 1000) -> ResNet:
    """Build ResNet-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    """Build ResNet-34."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """Build ResNet-50 (v1.5)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes)
