"""LeNets for MNIST.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998; the sizes
are those of the pruning literature (Han et al. 2015, Lin et al. "GAL" 2019).

Shape:
    input (N, 1, 28, 28), output (N, 10).

| network | params | MACs |
|---|---|---|
| LeNet-300-100 | 266,610 | 266,200 |
| LeNet-5, 20-50 filters | 431,080 | 2,293,000 |
| LeNet5-Caffe, 20-50-800-500 | 431,080 | 2,293,000 |

Deviations: ReLU instead of the tanh of 1998, and a linear soft-max layer instead of radial basis
functions, as in every pruning paper. The two convolutional networks have the same shapes; Caffe's
``lenet.prototxt`` has no activation behind its convolutions (the max pooling is the only
nonlinearity there), while the LeNet-5 of the pruning papers has a ReLU behind each.
"""

from torch import Tensor, nn


class LeNet300(nn.Module):
    """Perceptron with hidden layers of 300 and 100 units: fc1, fc2, fc3."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to logits (N, num_classes)."""
        x = self.fc1(x.flatten(1)).relu()
        x = self.fc2(x).relu()
        logits: Tensor = self.fc3(x)
        return logits


class LeNet5(nn.Module):
    """Two 5x5 convolutions of 20 and 50 filters, then 800-500-10: conv1, conv2, fc1, fc2.

    Args:
        conv_relu: put a ReLU behind each convolution (False: Caffe's form).
    """

    def __init__(self, num_classes: int = 10, conv_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.activation = nn.ReLU() if conv_relu else nn.Identity()
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, 28, 28) to logits (N, num_classes)."""
        x = self.pool(self.activation(self.conv1(x)))
        x = self.pool(self.activation(self.conv2(x)))
        x = self.fc1(x.flatten(1)).relu()
        logits: Tensor = self.fc2(x)
        return logits


def lenet300_100(num_classes: int = 10) -> LeNet300:
    """Build LeNet-300-100."""
    return LeNet300(num_classes)


def lenet5(num_classes: int = 10) -> LeNet5:
    """Build LeNet-5 with 20 and 50 filters and ReLUs behind the convolutions."""
    return LeNet5(num_classes)


def lenet5_caffe(num_classes: int = 10) -> LeNet5:
    """Build LeNet5-Caffe-20-50-800-500, linear between the convolutions and their pooling."""
    return LeNet5(num_classes, conv_relu=False)
