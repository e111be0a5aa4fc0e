"""What a training script feeds on: images, labels and their three-way split."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compressc.models.checkpoints import Normalization

# A deviation to divide by where pictures are all alike.
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True, eq=False)
class Labeled:
    """Images (N, C, H, W), uint8 or float32 in [0, 1], and int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> "Labeled":
        """Return the examples at the given positions (K,)."""
        return Labeled(self.images[rows], self.labels[rows])

    def to(self, device: torch.device) -> "Labeled":
        """Return the same examples on a device."""
        return Labeled(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set in three parts.

    Attributes:
        name: shown wherever a number is shown.
        train: for training.
        val: search-validation, for model selection.
        test: touched once, after training.
        split_seed: seed of the split; not the seed of a training run.
    """

    name: str
    train: Labeled
    val: Labeled
    test: Labeled
    split_seed: int

    def normalization(self) -> Normalization:
        """Return mean and standard deviation of each channel over the training part."""
        means = []
        stds = []
        # One channel at a time: CIFAR in float64 at once would take over a gigabyte.
        for channel in self.train.images.unbind(1):
            std, mean = torch.std_mean(as_pixels(channel).double())
            means.append(round(mean.item(), 4))
            # Of a channel that is the same everywhere nothing is left to scale.
            stds.append(max(round(std.item(), 4), LEAST_DEVIATION))
        return Normalization(tuple(means), tuple(stds))


def as_pixels(images: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]; uint8 is divided by 255, float32 passes."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def carve_validation(examples: Labeled, share: float, seed: int) -> tuple[Labeled, Labeled]:
    """Split a training set in two, with every class at its share in both.

    Args:
        examples: the whole training set.
        share: part of each class that becomes search-validation, in (0, 1).
        seed: decides which examples.

    Returns:
        The training part and the search-validation part, each in the original order.
    """
    generator = torch.Generator().manual_seed(seed)
    in_val = torch.zeros(len(examples), dtype=torch.bool)
    for label in range(int(examples.labels.max()) + 1):
        members = (examples.labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        in_val[members[order[: round(share * len(members))]]] = True
    return examples.take((~in_val).nonzero().flatten()), examples.take(in_val.nonzero().flatten())
