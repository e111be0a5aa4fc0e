"""GoogLeNet in its CIFAR form.

Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015; CIFAR form as in the filter
pruning papers (Lin et al. "HRank" 2020: 6.15 M params, 1.52e9 MACs).

Shape:
    input (N, 3, 32, 32), output (N, 10).

| network | params | MACs |
|---|---|---|
| GoogLeNet | 6,166,250 | 1,521,756,160 |

Names: pre_layers, a3, b3, a4 to e4, a5, b5 with branches b1 to b4, linear.

Deviations: one 3x3 convolution as stem, batch norm behind every convolution, the 5x5 of each
Inception block as two 3x3, no auxiliary classifiers.
"""

import torch
from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming


def conv_bn_relu(in_channels: int, channels: int, kernel: int) -> list[nn.Module]:
    """Return a convolution that keeps the image size, its batch norm and a ReLU."""
    return [
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1-3x3; 1x1-3x3-3x3; pool-1x1.

    Args:
        in_channels: channels of the input.
        single: width of the 1x1 branch.
        three: widths of the 1x1 and the 3x3 of the second branch.
        five: widths of the 1x1 and the two 3x3 of the third branch.
        pool: width of the 1x1 behind the pooling.
    """

    def __init__(
        self,
        in_channels: int,
        single: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pool: int,
    ) -> None:
        super().__init__()
        self.b1 = nn.Sequential(*conv_bn_relu(in_channels, single, 1))
        self.b2 = nn.Sequential(
            *conv_bn_relu(in_channels, three[0], 1), *conv_bn_relu(three[0], three[1], 3)
        )
        self.b3 = nn.Sequential(
            *conv_bn_relu(in_channels, five[0], 1),
            *conv_bn_relu(five[0], five[1], 3),
            *conv_bn_relu(five[1], five[1], 3),
        )
        self.b4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), *conv_bn_relu(in_channels, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, sum of the branch widths, H, W)."""
        return torch.cat((self.b1(x), self.b2(x), self.b3(x), self.b4(x)), 1)


class GoogLeNetCifar(nn.Module):
    """A 3x3 stem, nine Inception blocks, global average pooling."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.pre_layers = nn.Sequential(*conv_bn_relu(3, 192, 3))
        self.a3 = Inception(192, 64, (96, 128), (16, 32), 32)
        self.b3 = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.a4 = Inception(480, 192, (96, 208), (16, 48), 64)
        self.b4 = Inception(512, 160, (112, 224), (24, 64), 64)
        self.c4 = Inception(512, 128, (128, 256), (24, 64), 64)
        self.d4 = Inception(512, 112, (144, 288), (32, 64), 64)
        self.e4 = Inception(528, 256, (160, 320), (32, 128), 128)
        self.a5 = Inception(832, 256, (160, 320), (32, 128), 128)
        self.b5 = Inception(832, 384, (192, 384), (48, 128), 128)
        self.linear = nn.Linear(1024, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        x = self.maxpool(self.b3(self.a3(self.pre_layers(x))))
        x = self.e4(self.d4(self.c4(self.b4(self.a4(x)))))
        x = self.b5(self.a5(self.maxpool(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def googlenet_cifar(num_classes: int = 10) -> GoogLeNetCifar:
    """Build GoogLeNet for CIFAR."""
    return GoogLeNetCifar(num_classes)
