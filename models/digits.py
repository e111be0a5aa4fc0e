"""A small residual network for the 8x8 digits that come with scikit-learn.

Source: the block and the stages of He et al., CVPR 2016, sized for compressc's demonstration.

Shape:
    input (N, 1, 8, 8), output (N, 10).

| network | params | MACs |
|---|---|---|
| digits_resnet | 696,042 | 6,573,312 |

The widths are multiples of 32, so that steps of 16 channels leave room down to half the MACs and
below. Shortcuts are identities within a stage and 1x1 projections between stages. Names: conv1,
bn1, layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2,downsample}, fc.

Deviations: not a published network.
"""

from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming
from compressc.models.resnet import BasicBlock, make_stage


class DigitsResNet(nn.Module):
    """A 3x3 stem and three stages of two residual blocks.

    Args:
        widths: channels of the three stages.
    """

    def __init__(self, num_classes: int = 10, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = make_stage(BasicBlock, widths[0], widths[0], 2, 1)
        self.layer2 = make_stage(BasicBlock, widths[0], widths[1], 2, 2)
        self.layer3 = make_stage(BasicBlock, widths[1], widths[2], 2, 2)
        self.fc = nn.Linear(widths[2], num_classes)
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, num_classes)."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def digits_resnet(
    num_classes: int = 10, widths: tuple[int, int, int] = (32, 64, 128)
) -> DigitsResNet:
    """Build the digits network."""
    return DigitsResNet(num_classes, widths)
