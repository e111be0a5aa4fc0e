"""Opening: from what the user names on the command line to a Task."""

from __future__ import annotations

import os
import re
from math import prod
from pathlib import Path

from compressc.datasets.arrays import has_labels, holds_idx, read_idx_folder, read_npz
from compressc.datasets.decoded_cache import read_through_cache
from compressc.datasets.factories import call_factory
from compressc.datasets.file_index import count_images, index_images
from compressc.datasets.image_files import ImageSet, read_images
from compressc.datasets.splitting import split
from compressc.datasets.streamed_images import stream_images
from compressc.datasets.unlabeled_files import open_arrays, open_pictures, usual_augmentation
from compressc.errors import DataError
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import Labeled
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.protocol import Task

# No classifier tells more apart; a label of a billion must not make as many names.
_MOST_CLASSES = 10**6
# Pictures that take more than this share of the machine's memory are read as they are needed.
_SHARE_OF_MEMORY = 0.25
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_task(
    source: str | Path,
    *,
    normalization: Normalization | None = None,
    input_shape: tuple[int, int, int] | None = None,
    class_count: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
    original: Program | None = None,
) -> Task:
    """Return the Task for data on disk, or what a factory makes.

    Images without class sub-folders and an ``.npz`` without labels make a task without labels,
    which judges by the agreement with the original.

    Args:
        source: a folder or tar archive of images, in class sub-folders where there are labels, a
            folder of MNIST's IDX files, an ``.npz`` file, or ``module:factory``.
        normalization: of the trained network; None for mean and deviation of the training split.
        input_shape: (channels, height, width) that image files are brought to; None for theirs.
        class_count: how many classes the model tells apart; None for any.
        batch_size: for training and evaluation.
        seed: decides the splits that the source does not have.
        original: what models are compared with where there are no labels.

    Raises:
        DataError: if the data cannot be read or are not fit for classification, or have no labels
            and nothing to compare with.
    """
    text = str(source)
    path = Path(source)
    if not path.exists():
        if _FACTORY.fullmatch(text):
            return call_factory(text)
        raise DataError(f"{text}: there is no such folder or file, and it is no module:factory")
    if path.suffix == ".npz" and original is not None and not has_labels(path):
        return open_arrays(path, original, normalization, batch_size, seed)
    streamed = _stream(path, normalization, input_shape, batch_size, seed)
    if streamed is not None:
        return streamed
    contents = _read(path, input_shape)
    # Arrays with labels have them, however few classes they name.
    numbered = path.suffix == ".npz" or (path.is_dir() and holds_idx(path))
    if not (numbered or contents.has_labels):
        compared = _compared(path, original)
        return open_pictures(path, contents, compared, normalization, batch_size, seed)
    if class_count is not None and len(contents.classes) > class_count:
        raise DataError(
            f"{path}: class {contents.classes[-1]} is number {len(contents.classes)}, but the "
            f"model has only {class_count} classes; these data are not what it was trained for"
        )
    data = split(path.name, contents.parts, contents.classes, seed)
    channels = data.train.images.shape[1]
    if input_shape is not None and tuple(data.train.images.shape[1:]) != tuple(input_shape):
        raise DataError(
            f"{path}: the images are {'x'.join(map(str, data.train.images.shape[1:]))}, the model "
            f"reads {'x'.join(map(str, input_shape))}"
        )
    normalization = normalization or data.normalization()
    if len(normalization.mean) != channels:
        raise DataError(
            f"{path}: the images have {channels} channel(s), the normalisation "
            f"{len(normalization.mean)}"
        )
    return ClassificationTask(
        data,
        contents.classes,
        normalization,
        usual_augmentation(data.train.images),
        batch_size,
        notes=contents.notes,
    )


def _stream(
    path: Path,
    normalization: Normalization | None,
    input_shape: tuple[int, int, int] | None,
    batch_size: int,
    seed: int,
) -> Task | None:
    """Return the task of a labelled folder that would take too much memory, None for others."""
    if input_shape is None or not path.is_dir() or holds_idx(path):
        return None
    if count_images(path) * prod(input_shape) <= _memory_bytes() * _SHARE_OF_MEMORY:
        return None
    index = index_images(path, seed)
    if index is None:
        return None
    size = (input_shape[1], input_shape[2])
    return stream_images(index, normalization, size, input_shape[0], batch_size)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(path: Path, input_shape: tuple[int, int, int] | None) -> ImageSet:
    if path.is_dir() and holds_idx(path):
        return _numbered(path, read_idx_folder(path))
    if path.suffix == ".npz":
        return _numbered(path, read_npz(path))
    if path.is_file() and ".tar" not in path.suffixes and path.suffix not in (".tgz", ".tar"):
        raise DataError(f"{path}: give a folder, a tar archive of images, or an .npz file")
    size = None if input_shape is None else (input_shape[1], input_shape[2])
    channels = None if input_shape is None else input_shape[0]

    def read() -> ImageSet:
        return read_images(path, size, channels)

    return read() if path.is_dir() else read_through_cache(path, (size, channels), read)


def _numbered(path: Path, parts: dict[str, Labeled]) -> ImageSet:
    count = max((int(part.labels.max()) + 1 for part in parts.values() if len(part)), default=0)
    if count > _MOST_CLASSES:
        raise DataError(
            f"{path}: holds the label {count - 1}; labels are the numbers of classes, from 0 to "
            f"below {_MOST_CLASSES}"
        )
    return ImageSet(parts, tuple(map(str, range(count))), ())


def _compared(path: Path, original: Program | None) -> Program:
    """Return what models are compared with.

    Raises:
        DataError: if there is nothing.
    """
    if original is None:
        raise DataError(
            f"{path}: has no labels, so a model can only be compared with the original; give that "
            "(original=... of open_task)"
        )
    return original
