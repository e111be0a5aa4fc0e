"""Unlabelled files: pictures without class folders, and ``.npz`` files of inputs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressc.datasets.arrays import read_pictures
from compressc.datasets.image_files import ImageSet
from compressc.errors import DataError
from compressc.models.augmentation import Augmentation, flip, shift
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import DataSet, Labeled
from compressc.program import Program
from compressc.tasks.calibration_samples import check_samples, read_samples
from compressc.tasks.unlabeled import UnlabeledTask, split_inputs

# With fewer there is nothing left to judge on.
_FEWEST = 8


def open_pictures(
    path: Path,
    images: ImageSet,
    original: Program,
    normalization: Normalization | None,
    batch_size: int,
    seed: int,
) -> UnlabeledTask:
    """Return the task of pictures that no folders tell apart.

    Args:
        path: where they come from.
        images: the pictures.
        original: what models are compared with.
        normalization: of the trained network; None for mean and deviation of the pictures.
        batch_size: for training and evaluation.
        seed: decides the splits.

    Raises:
        DataError: if there are too few, or they do not fit the model.
    """
    pictures = torch.cat([part.images for part in images.parts.values()])
    return _picture_task(path, pictures, original, normalization, batch_size, seed, images.notes)


def open_arrays(
    path: Path,
    original: Program,
    normalization: Normalization | None,
    batch_size: int,
    seed: int,
) -> UnlabeledTask:
    """Return the task of an ``.npz`` of inputs: one array for each, samples on the first axis.

    Floats are taken as what the model reads. Bytes of pictures are scaled to [0, 1] and normalised.

    Args:
        path: the file.
        original: what models are compared with.
        normalization: of the trained network, for bytes; None for mean and deviation of them.
        batch_size: for training and evaluation.
        seed: decides the splits.

    Raises:
        DataError: if the file is damaged, or lacks an input, or does not fit the model.
    """
    arrays = read_samples(path, original)
    example = original.example_inputs[0]
    if len(arrays) == 1 and arrays[0].dtype == np.uint8 and example.is_floating_point():
        pictures = read_pictures(str(path), arrays[0])
        return _picture_task(path, pictures, original, normalization, batch_size, seed, ())
    check_samples(str(path), arrays, original)
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    _check_count(path, len(inputs[0]))
    return UnlabeledTask(
        original,
        *split_inputs(inputs, seed),
        inputs_from=f"the inputs of {path.name}",
        batch_size=batch_size,
    )


def usual_augmentation(images: Tensor) -> Augmentation:
    """Return the usual changes: shifts by an eighth of the side, and colour images mirrored."""
    channels, height, width = images.shape[1:]
    if channels == 3:
        return partial(_shift_and_flip, pixels=min(height, width) // 8)
    return partial(shift, pixels=min(height, width) // 14)


def _picture_task(
    path: Path,
    pictures: Tensor,
    original: Program,
    normalization: Normalization | None,
    batch_size: int,
    seed: int,
    notes: tuple[str, ...],
) -> UnlabeledTask:
    _check_count(path, len(pictures))
    reads = tuple(original.example_inputs[0].shape[1:])
    given = tuple(pictures.shape[1:])
    resizes = any(axis > 1 for axis in original.dynamic_axes[0])
    if len(reads) != 3 or reads[0] != given[0] or (reads != given and not resizes):
        raise DataError(
            f"{path}: the images are {'x'.join(map(str, given))}, the model reads "
            f"{'x'.join(map(str, reads))}"
        )
    if normalization is None:
        nothing = Labeled(pictures, torch.zeros(len(pictures), dtype=torch.int64))
        normalization = DataSet(path.name, nothing, nothing, nothing, seed).normalization()
    return UnlabeledTask(
        original,
        *split_inputs((pictures,), seed),
        inputs_from=f"pictures of {path.name}",
        normalization=normalization,
        augmentation=usual_augmentation(pictures),
        batch_size=batch_size,
        notes=notes,
    )


def _check_count(path: Path, count: int) -> None:
    if count < _FEWEST:
        raise DataError(
            f"{path}: {count} sample(s) without labels; give {_FEWEST} or more, better hundreds"
        )


def _shift_and_flip(images: Tensor, generator: torch.Generator, pixels: int) -> Tensor:
    return flip(shift(images, generator, pixels), generator)
