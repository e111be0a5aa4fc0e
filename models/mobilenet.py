"""MobileNets at width 1.0.

Source: Howard et al., "MobileNets", 2017 (4.2 M params, 569 M MACs); Sandler et al., "MobileNetV2:
Inverted Residuals and Linear Bottlenecks", CVPR 2018 (300 M MACs).

Shape:
    input (N, 3, 224, 224), output (N, 1000); any side of at least 32 works.

| network | params | MACs |
|---|---|---|
| MobileNetV1 | 4,231,976 | 568,740,352 |
| MobileNetV2 | 3,504,872 | 300,774,272 |

MobileNetV2 has torchvision's layer names, so its state dicts load; MobileNetV1 has conv1.{0,1},
features.{i}.{0,1,3,4} (depthwise, batch norm, pointwise, batch norm) and classifier.

Deviations: none in V1; V2 as torchvision (the paper quotes 3.4 M params).
"""

from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming

_V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
# expansion, channels, blocks, stride of the first block
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def separable(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Return a depthwise 3x3 and a pointwise convolution, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class MobileNetV1(nn.Module):
    """A strided 3x3 stem and thirteen depthwise-separable convolutions."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        blocks = []
        channels = 32
        for width, stride in _V1_BLOCKS:
            blocks.append(separable(channels, width, stride))
            channels = width
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 224, 224) to logits (N, num_classes)."""
        x = self.features(self.conv1(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def conv_bn_relu6(
    in_channels: int, channels: int, kernel: int, stride: int = 1, conv_groups: int = 1
) -> nn.Sequential:
    """Return a convolution with batch norm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, channels, kernel, stride, kernel // 2, groups=conv_groups, bias=False
        ),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand (1x1), filter (depthwise 3x3), project (linear 1x1); added to the input if it fits."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        expand = [conv_bn_relu6(in_channels, width, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_bn_relu6(width, width, 3, stride, conv_groups=width),
            nn.Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


class MobileNetV2(nn.Module):
    """A strided 3x3 stem, seventeen inverted residuals and a 1x1 head: features, classifier."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn_relu6(3, 32, 3, 2)]
        channels = 32
        for expansion, width, blocks, first_stride in _V2_STAGES:
            for i in range(blocks):
                stride = first_stride if i == 0 else 1
                layers.append(InvertedResidual(channels, width, stride, expansion))
                channels = width
        layers.append(conv_bn_relu6(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 224, 224) to logits (N, num_classes)."""
        x = self.features(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def mobilenet_v1(num_classes: int = 1000) -> MobileNetV1:
    """Build MobileNetV1 at width 1.0."""
    return MobileNetV1(num_classes)


def mobilenet_v2(num_classes: int = 1000) -> MobileNetV2:
    """Build MobileNetV2 at width 1.0."""
    return MobileNetV2(num_classes)
