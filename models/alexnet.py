"""AlexNet in its CIFAR form.

Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks",
NeurIPS 2012; channels of Krizhevsky's "One weird trick", 2014; CIFAR form of W. Yang's
pytorch-classification (2.47 M params).

Shape:
    input (N, 3, 32, 32), output (N, 10).

| network | params | MACs |
|---|---|---|
| AlexNet | 2,472,266 | 14,957,056 |

Names: features.{0,3,6,8,10}, classifier, or classifier.{0,2,4} with hidden layers.

Deviations: for images of 32 pixels the first convolution pads by 5, the poolings are 2x2, and one
linear layer replaces the three unless ``hidden`` is given.
"""

from torch import Tensor, nn


class AlexNetCifar(nn.Module):
    """Five convolutions and a classifier.

    Args:
        num_classes: width of the output.
        hidden: width of the classifier's two hidden layers, None for a single linear layer.
    """

    def __init__(self, num_classes: int = 10, hidden: int | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, padding=5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier: nn.Module = nn.Linear(256, num_classes)
        if hidden is not None:
            self.classifier = nn.Sequential(
                nn.Linear(256, hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, num_classes),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def alexnet_cifar(num_classes: int = 10, hidden: int | None = None) -> AlexNetCifar:
    """Build AlexNet for CIFAR; ``hidden`` is the width of two hidden layers, None for none."""
    return AlexNetCifar(num_classes, hidden)
