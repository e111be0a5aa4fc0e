"""Opening: from what the user names on the command line to a Task."""

from __future__ import annotations

import os
import re
from itertools import islice
from math import prod
from pathlib import Path

from compressc.datasets.arrays import has_labels, holds_idx, read_idx_folder, read_npz
from compressc.datasets.decoded_cache import read_through_cache
from compressc.datasets.factories import call_factory
from compressc.datasets.hub import open_hub
from compressc.datasets.hub_names import PREFIX
from compressc.datasets.image_files import ImageSet, read_images
from compressc.datasets.picture_index import index_pictures
from compressc.datasets.picture_sources import ArchiveSource, FolderSource, PictureSource
from compressc.datasets.splitting import split
from compressc.datasets.streamed_tasks import stream_labeled, stream_unlabeled
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
            folder of MNIST's IDX files, an ``.npz`` file, ``hf:NAME`` for a data set in the
            cache of Hugging Face ``datasets``, or ``module:factory``.
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
    if not text.startswith(PREFIX) and not path.exists():
        if _FACTORY.fullmatch(text):
            return call_factory(text)
        raise DataError(f"{text}: there is no such folder or file, and it is no module:factory")
    if path.suffix == ".npz" and original is not None and not has_labels(path):
        return open_arrays(path, original, normalization, batch_size, seed)
    pictures = _pictures(text, path)
    if pictures is None:
        contents = _numbered(path, _arrays(path))
    else:
        most = _memory_bytes() * _SHARE_OF_MEMORY
        if input_shape is not None and _is_larger(pictures, most / prod(input_shape)):
            return _stream(pictures, normalization, input_shape, batch_size, seed, original)
        contents = _read(pictures, input_shape, most)
    if not contents.has_labels:
        compared = _compared(path, original)
        return open_pictures(path, contents, compared, normalization, batch_size, seed)
    if class_count is not None and len(contents.classes) > class_count:
        raise DataError(
            f"{path}: class {contents.classes[-1]} is number {len(contents.classes)}, but the "
            f"model has only {class_count} classes; these data are not what it was trained for"
        )
    name = path.name if pictures is None else pictures.name
    data = split(name, contents.parts, contents.classes, seed)
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


def _pictures(text: str, path: Path) -> PictureSource | None:
    """Return the pictures that a source holds; None for arrays."""
    if text.startswith(PREFIX):
        return open_hub(text)
    if path.is_dir():
        return None if holds_idx(path) else FolderSource(path)
    if path.suffix == ".npz":
        return None
    if ".tar" in path.suffixes or path.suffix in (".tgz", ".tar"):
        return ArchiveSource(path)
    raise DataError(f"{path}: give a folder, a tar archive of images, or an .npz file")


def _arrays(path: Path) -> dict[str, Labeled]:
    return read_idx_folder(path) if path.is_dir() else read_npz(path)


def _is_larger(pictures: PictureSource, most: float) -> bool:
    """Return whether a source holds more than ``most`` pictures that can be read one by one."""
    return pictures.can_seek and next(islice(pictures.list(), int(most), None), None) is not None


def _stream(
    pictures: PictureSource,
    normalization: Normalization | None,
    input_shape: tuple[int, int, int],
    batch_size: int,
    seed: int,
    original: Program | None,
) -> Task:
    """Return the task of pictures that would take too much memory."""
    index = index_pictures(pictures, seed)
    channels, *size = input_shape
    form = (size[0], size[1])
    if index.classes:
        return stream_labeled(index, normalization, form, channels, batch_size)
    whole, compared = index.parts["train"], _compared(Path(index.name), original)
    return stream_unlabeled(
        index.name, whole, compared, normalization, form, channels, batch_size, seed
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(
    pictures: PictureSource, input_shape: tuple[int, int, int] | None, most_bytes: float
) -> ImageSet:
    size = None if input_shape is None else (input_shape[1], input_shape[2])
    channels = None if input_shape is None else input_shape[0]
    return read_through_cache(
        pictures,
        (size, channels),
        lambda: read_images(pictures, size, channels, most_bytes),
    )


def _numbered(path: Path, parts: dict[str, Labeled]) -> ImageSet:
    count = max((int(part.labels.max()) + 1 for part in parts.values() if len(part)), default=0)
    if count > _MOST_CLASSES:
        raise DataError(
            f"{path}: holds the label {count - 1}; labels are the numbers of classes, from 0 to "
            f"below {_MOST_CLASSES}"
        )
    # Arrays with labels have them, however few classes they name.
    return ImageSet(parts, tuple(map(str, range(count))), (), has_labels=True)


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
