"""ResNets for CIFAR with parameter-free (option A) shortcuts.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

Shape:
    input (N, 3, 32, 32), output (N, 10).

| network | params | of which convolution and linear weights | MACs |
|---|---|---|---|
| ResNet-20 | 269,722 | 268,336 | 40,551,040 |
| ResNet-56 | 853,018 | 848,944 | 125,485,696 |
| ResNet-110 | 1,727,962 | 1,719,856 | 252,887,680 |

Deviations: none known. Where a stage begins, the shortcut takes every second pixel and pads the
channels with zeros, a quarter of the new width on each side, as the state dicts in circulation
(keys conv1, bn1, layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}, linear) expect.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside an option-A shortcut.

    Args:
        in_channels: channels of the input.
        channels: channels of the output; the difference to the input must be even.
        stride: 1, or 2 to halve the image.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padded_channels = (channels - in_channels) // 2

    def residual(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut."""
        x = self.bn1(self.conv1(x)).relu()
        out: Tensor = self.bn2(self.conv2(x))
        return out

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the input, subsampled and zero-padded to the shape of the output."""
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.padded_channels:
            x = F.pad(x, (0, 0, 0, 0, self.padded_channels, self.padded_channels))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        return (self.residual(x) + self.shortcut(x)).relu()


class ResNetCifar(nn.Module):
    """A 3x3 stem and three stages of 16, 32 and 64 channels.

    Args:
        blocks: residual blocks in each stage; the depth is 6 * blocks + 2.
        block: makes one block from (in_channels, channels, stride).
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        block: Callable[[int, int, int], nn.Module] = BasicBlock,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(
            block(16, 32, 2), *(block(32, 32, 1) for _ in range(blocks - 1))
        )
        self.layer3 = nn.Sequential(
            block(32, 64, 2), *(block(64, 64, 1) for _ in range(blocks - 1))
        )
        self.linear = nn.Linear(64, num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def resnet20(num_classes: int = 10) -> ResNetCifar:
    """Build ResNet-20."""
    return ResNetCifar(3, num_classes)


def resnet56(num_classes: int = 10) -> ResNetCifar:
    """Build ResNet-56."""
    return ResNetCifar(9, num_classes)


def resnet110(num_classes: int = 10) -> ResNetCifar:
    """Build ResNet-110."""
    return ResNetCifar(18, num_classes)
