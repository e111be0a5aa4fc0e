"""SE-ResNet-20 for CIFAR: squeeze-and-excitation on every residual branch.

Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, on the ResNet-20 of He et al.

Shape:
    input (N, 3, 32, 32), output (N, 10).

| network | params | MACs |
|---|---|---|
| SE-ResNet-20, reduction 16 | 271,738 | 40,553,056 |

The excitation adds 2 / reduction * sum(channels ** 2) parameters (equation 5 of the paper), 2,016
here. Names as in ResNet-20, plus layer{1,2,3}.{i}.se.{fc1,fc2}.

Deviations: the excitation layers carry no bias, which makes equation 5 exact.
"""

from torch import Tensor, nn

from compressc.models.resnet_cifar import BasicBlock, ResNetCifar

REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from all channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // REDUCTION, bias=False)
        self.fc2 = nn.Linear(channels // REDUCTION, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        gate: Tensor = self.fc2(self.fc1(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


class SEBasicBlock(BasicBlock):
    """The residual block of ResNet-20 with a gate on what it adds."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        self.se = SqueezeExcitation(channels)

    def residual(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut, gated per channel."""
        gated: Tensor = self.se(super().residual(x))
        return gated


def se_resnet20(num_classes: int = 10) -> ResNetCifar:
    """Build SE-ResNet-20."""
    return ResNetCifar(3, num_classes, SEBasicBlock)
