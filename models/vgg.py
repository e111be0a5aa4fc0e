"""VGG-16 and VGG-19 in their CIFAR form: batch norm behind every convolution.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015. CIFAR form of VGG-16: Zagoruyko 2015, as used by Li et al., "Pruning
Filters for Efficient ConvNets", ICLR 2017 (1.5e7 params, 3.13e8 MACs). CIFAR form of VGG-19: Liu
et al., "Network Slimming", ICCV 2017 (20.04 M params, 3.98e8 MACs).

Shape:
    input (N, 3, 32, 32), output (N, 10).

| network | classifier | params | MACs |
|---|---|---|---|
| VGG-16 | 512-512-10 with batch norm | 14,987,722 | 313,463,808 |
| VGG-19 | 512-10 | 20,035,018 | 398,136,320 |

Deviations: convolutions carry no bias (the batch norm behind them has one); no dropout. Papers
that quote 313.73 M MACs for VGG-16 count the bias additions as well.
"""

from torch import Tensor, nn

from compressc.models.initialization import initialize_kaiming

_CONVS_PER_STAGE = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_STAGE_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Clock of 3x3 convolutions, a max pooling behind each: features.{i}, classifier.

    Args:
        depth: 16 or 19.
        hidden: width of a hidden classifier layer, None for a single linear layer.
        width: factor of the channels of all convolutions.
    """

    def __init__(
        self, depth: int, num_classes: int = 10, hidden: int | None = None, width: float = 1.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, convs in zip(_STAGE_WIDTHS, _CONVS_PER_STAGE[depth], strict=True):
            for _ in range(convs):
                layers += [
                    nn.Conv2d(channels, round(width * stage), 3, padding=1, bias=False),
                    nn.BatchNorm2d(round(width * stage)),
                    nn.ReLU(inplace=True),
                ]
                channels = round(width * stage)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier: nn.Module
        if hidden is None:
            self.classifier = nn.Linear(channels, num_classes)
        else:
            self.classifier = nn.Sequential(
                nn.Linear(channels, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, num_classes),
            )
        initialize_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def vgg16_cifar(num_classes: int = 10, width: float = 1.0) -> VGG:
    """Build VGG-16 with a hidden classifier layer of 512, as in the filter-pruning papers."""
    return VGG(16, num_classes, hidden=512, width=width)


def vgg19_cifar(num_classes: int = 10) -> VGG:
    """Build VGG-19 with one linear layer, as in Network Slimming."""
    return VGG(19, num_classes)
