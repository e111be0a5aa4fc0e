"""Arrays: images and labels in ``.npz`` files and in MNIST's IDX files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressc.datasets.idx import read_pair
from compressc.errors import DataError
from compressc.models.training_data import Labeled
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.stored_arrays import StoredArrays

_IDX_PARTS = {"train": "train", "t10k": "test", "test": "test", "val": "val"}
_IDX_NAMES = ("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte")
# Names of (images, labels) in use; {} is a part and its separator.
_NPZ_NAMES = (("{}images", "{}labels"), ("{}x", "{}y"), ("x{}", "y{}"), ("X{}", "y{}"))
_PARTS = ("train", "val", "test")


def holds_idx(folder: Path) -> bool:
    """Return whether a folder has MNIST's training images."""
    name = _IDX_NAMES[0].format("train")
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def read_idx_folder(folder: Path) -> dict[str, Labeled]:
    """Read ``train-images-idx3-ubyte`` and so on, gzipped or not, by part.

    Raises:
        DataError: if a file is damaged or has no partner.
    """
    parts = {}
    for prefix, part in _IDX_PARTS.items():
        images, labels = (folder / name.format(prefix) for name in _IDX_NAMES)
        if images.is_file() or images.with_name(images.name + ".gz").is_file():
            try:
                parts[part] = read_pair(images, labels)
            except (OSError, ValueError) as error:
                raise DataError(str(error)) from error
    return parts


def read_npz(path: Path) -> dict[str, Labeled]:
    """Read arrays such as ``train_images`` and ``train_labels``, or ``images`` and ``labels``.

    Images are (N, H, W), (N, C, H, W) or (N, H, W, C); uint8, or floats in [0, 1].

    Raises:
        DataError: if the file is damaged, or lacks arrays, or they do not fit together.
    """
    arrays = open_stored(path)
    parts = {}
    for part in _PARTS:
        pair = _find(arrays, part)
        if pair is not None:
            parts[part] = _labeled(f"{path}, {part}", *pair)
    if "train" not in parts:
        whole = _find(arrays, "")
        if whole is None:
            raise DataError(
                f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}; expected train_images "
                "and train_labels, or images and labels"
            )
        parts["train"] = _labeled(str(path), *whole)
    return parts


def has_labels(path: Path) -> bool:
    """Return whether an ``.npz`` holds labels beside its images, under names that are known.

    Raises:
        DataError: if the file is damaged.
    """
    names = open_stored(path).keys()
    return any(_names(names, part) is not None for part in (*_PARTS, ""))


def read_pictures(where: str, images: NDArray[np.generic]) -> Tensor:
    """Return images as (N, C, H, W): uint8, or float32 in [0, 1].

    Raises:
        DataError: if they are something else.
    """
    return _labeled(where, images, np.zeros(len(images), np.int64)).images


def open_stored(path: str | Path) -> StoredArrays:
    """Return the arrays of an ``.npz`` by name, none of them read yet.

    Raises:
        DataError: if the file cannot be read, or is no ``.npz`` of plain arrays.
    """
    try:
        return StoredArrays(path)
    except RuntimeFailure as error:
        raise DataError(str(error)) from error


def read_stored(arrays: StoredArrays, name: str) -> NDArray[Any]:
    """Return one of them.

    Raises:
        DataError: if it is damaged, or takes more memory than the budget.
    """
    try:
        return arrays[name]
    except RuntimeFailure as error:
        raise DataError(str(error)) from error


def _find(
    arrays: StoredArrays, part: str
) -> tuple[NDArray[np.generic], NDArray[np.generic]] | None:
    names = _names(arrays.keys(), part)
    return None if names is None else (read_stored(arrays, names[0]), read_stored(arrays, names[1]))


def _names(known: Collection[str], part: str) -> tuple[str, str] | None:
    """Return what images and labels of a part are called, None where there are none."""
    for images, labels in _NPZ_NAMES:
        before = f"{part}_" if part else ""
        after = f"_{part}" if part else ""
        mark = before if images.startswith("{}") else after
        names = images.format(mark), labels.format(mark)
        if names[0] in known and names[1] in known:
            return names
    return None


def _labeled(where: str, images: NDArray[np.generic], labels: NDArray[np.generic]) -> Labeled:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != len(images):
        raise DataError(f"{where}: {len(images)} images but labels of shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where}: labels are {labels.dtype}; whole numbers are needed")
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4:
        raise DataError(f"{where}: images have shape {images.shape}; (N, C, H, W) is needed")
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
        if images.size and not (images.min() >= 0 and images.max() <= 1):
            raise DataError(f"{where}: float images must lie in [0, 1]; bytes in 0 to 255 be uint8")
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    return Labeled(pixels, torch.from_numpy(labels.astype(np.int64)))
