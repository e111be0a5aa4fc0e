"""Splits: whatever parts a source has become train, search-validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from compressc.errors import DataError
from compressc.models.training_data import DataSet, Labeled, carve_validation

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1


def split(name: str, parts: Mapping[str, Labeled], classes: Sequence[str], seed: int) -> DataSet:
    """Return the three splits; what the source lacks is carved from its training part.

    Args:
        name: the data set, for messages.
        parts: "train" and, where the source has them, "val" and "test".
        classes: their names, in the order of the labels.
        seed: decides which images are carved out.

    Raises:
        DataError: if a label is out of range, the images differ in shape, or a class is missing
            from a split.
    """
    parts = dict(parts)
    for part, examples in parts.items():
        _check_labels(f"{name}, {part}", examples, classes)
    shapes = {tuple(examples.images.shape[1:]) for examples in parts.values()}
    if len(shapes) > 1:
        raise DataError(f"{name}: the parts hold images of different shapes {sorted(shapes)}")
    if "test" not in parts:
        parts["train"], parts["test"] = carve_validation(parts["train"], TEST_SHARE, seed)
    if "val" not in parts:
        parts["train"], parts["val"] = carve_validation(parts["train"], VALIDATION_SHARE, seed + 1)
    for part in ("train", "val", "test"):
        _check_classes(f"{name}, {part}", parts[part], classes)
    return DataSet(name, parts["train"], parts["val"], parts["test"], seed)


def _check_labels(where: str, examples: Labeled, classes: Sequence[str]) -> None:
    if not len(examples):
        raise DataError(f"{where}: there are no images; check the path")
    low, high = int(examples.labels.min()), int(examples.labels.max())
    if low < 0 or high >= len(classes):
        wrong = low if low < 0 else high
        raise DataError(f"{where}: label {wrong} is outside the {len(classes)} classes")


def _check_classes(where: str, examples: Labeled, classes: Sequence[str]) -> None:
    counts = torch.bincount(examples.labels, minlength=len(classes)).numpy()
    missing = [classes[int(index)] for index in np.flatnonzero(counts == 0)]
    if missing:
        raise DataError(
            f"{where}: no image of class {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}; add some, or remove the class"
        )
