"""DenseNets: DenseNet-40 (growth 12) for CIFAR and DenseNet-121 for ImageNet.

Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.

Shape:
    DenseNet-40: input (N, 3, 32, 32), output (N, 10).
    DenseNet-121: input (N, 3, 224, 224), output (N, 1000).

| network | params | MACs |
|---|---|---|
| DenseNet-40, k = 12 | 1,059,298 | 282,917,328 |
| DenseNet-121, k = 32 | 7,978,856 | 2,834,161,664 |

DenseNet-121 has torchvision's layer names, so its state dicts load; DenseNet-40 has conv1,
dense{1,2,3}.{i}.{bn1,conv1}, trans{1,2}.{bn1,conv1}, bn, fc.

Deviations: no dropout. The stem of DenseNet-40 has twice the growth rate, 24 channels, as in the
pruning papers (HRank, DECORE: 1.04 M params without batch norms, 282.92 M MACs), where the paper
has 16 (``stem_channels``: 1.02 M params).
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming


class PlainLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution whose output is appended to its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels + growth, H, W)."""
        return torch.cat((x, self.conv1(self.bn1(x).relu())), 1)


class PlainTransition(nn.Module):
    """Batch norm, ReLU, a 1x1 convolution that keeps the width, and average pooling by 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, channels, H / 2, W / 2)."""
        pooled: Tensor = self.pool(self.conv1(self.bn1(x).relu()))
        return pooled


class DenseNetCifar(nn.Module):
    """Three dense blocks without bottlenecks or compression.

    Args:
        layers: convolutions in each dense block; the depth is 3 * layers + 4.
        growth: channels that each convolution adds.
        stem_channels: channels of the first convolution.
    """

    def __init__(
        self, layers: int, growth: int, num_classes: int = 10, stem_channels: int = 24
    ) -> None:
        super().__init__()

        def dense(in_channels: int) -> nn.Sequential:
            return nn.Sequential(
                *(PlainLayer(in_channels + i * growth, growth) for i in range(layers))
            )

        added = layers * growth
        self.conv1 = nn.Conv2d(3, stem_channels, 3, padding=1, bias=False)
        self.dense1 = dense(stem_channels)
        self.trans1 = PlainTransition(stem_channels + added)
        self.dense2 = dense(stem_channels + added)
        self.trans2 = PlainTransition(stem_channels + 2 * added)
        self.dense3 = dense(stem_channels + 2 * added)
        self.bn = nn.BatchNorm2d(stem_channels + 3 * added)
        self.fc = nn.Linear(stem_channels + 3 * added, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.trans2(self.dense2(x))
        x = self.bn(self.dense3(x)).relu()
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class BottleneckLayer(nn.Module):
    """A 1x1 convolution to 4 * growth channels, then a 3x3 to growth, appended to the input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels + growth, H, W)."""
        hidden = self.conv1(self.norm1(x).relu())
        return torch.cat((x, self.conv2(self.norm2(hidden).relu())), 1)


class DenseNet(nn.Module):
    """Four dense blocks with bottlenecks and a compression of one half between them.

    Args:
        layers: bottleneck layers in each dense block.
        growth: channels that each layer adds.
    """

    def __init__(
        self, layers: tuple[int, int, int, int], growth: int = 32, num_classes: int = 1000
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv0=nn.Conv2d(3, channels, 7, 2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(channels),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, 2, padding=1),
            )
        )
        for block, count in enumerate(layers, start=1):
            dense = nn.Sequential()
            for i in range(count):
                dense.add_module(f"denselayer{i + 1}", BottleneckLayer(channels, growth))
                channels += growth
            self.features.add_module(f"denseblock{block}", dense)
            if block < len(layers):
                transition = nn.Sequential(
                    OrderedDict[str, nn.Module](
                        norm=nn.BatchNorm2d(channels),
                        relu=nn.ReLU(inplace=True),
                        conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                        pool=nn.AvgPool2d(2),
                    )
                )
                self.features.add_module(f"transition{block}", transition)
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 224, 224) to logits (N, num_classes)."""
        x = self.features(x).relu()
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def densenet40(num_classes: int = 10) -> DenseNetCifar:
    """Build DenseNet-40 with growth 12."""
    return DenseNetCifar(12, 12, num_classes)


def densenet121(num_classes: int = 1000) -> DenseNet:
    """Build DenseNet-121."""
    return DenseNet((6, 12, 24, 16), 32, num_classes)
