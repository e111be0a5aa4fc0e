"""Tasks of pictures that are never all in memory, with labels and without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from compressc.content import feed_content
from compressc.datasets.picture_index import PictureIndex, Pictures
from compressc.datasets.streamed_images import (
    DecodedPictures,
    estimate_normalization,
    walk_pictures,
)
from compressc.errors import DataError
from compressc.models.augmentation import flip
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import as_pixels
from compressc.program import Program
from compressc.tasks.classification import count_classes
from compressc.tasks.loaders import LoaderTask, mean_of
from compressc.tasks.protocol import Batch, Inputs
from compressc.tasks.unlabeled import UnlabeledTask, split_rows


@dataclass(frozen=True, eq=False)
class PictureBatches:
    """Pictures in their order, batch by batch: (images as uint8, labels).

    Attributes:
        decoded: the pictures.
        batch_size: of each batch but a last one.
        whole: whether a last batch of fewer is left out.
    """

    decoded: DecodedPictures
    batch_size: int
    whole: bool = False

    def __len__(self) -> int:
        return len(self.cut(torch.arange(len(self.decoded))))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return walk_pictures(self.decoded, self.cut(torch.arange(len(self.decoded))))

    def cut(self, order: Tensor) -> Sequence[Tensor]:
        """Return the rows of each batch."""
        size = self.batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [rows for rows in parts if len(rows) == size or not self.whole]

    def take(self, rows: Tensor) -> PictureBatches:
        """Return the same of some pictures."""
        chosen = replace(self.decoded, pictures=self.decoded.pictures.take(rows))
        return replace(self, decoded=chosen)


@dataclass(frozen=True, eq=False)
class StreamedTask(LoaderTask):
    """Labelled pictures in three splits, never all in memory.

    Attributes:
        train, val, test: the splits.
        name: of the data set.
        classes: their names, in the order of labels.
        normalization: what turns pixels in [0, 1] into the input.
    """

    train: PictureBatches
    val: PictureBatches
    test: PictureBatches
    name: str
    classes: tuple[str, ...]
    normalization: Normalization

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done because the data are large."""
        count = sum(len(part.decoded) for part in (self.train, self.val, self.test))
        return (f"{self.name}: {count} images, read as they are needed",)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What an ONNX file should say about its input, by metadata key."""
        return {
            "compressc.data": self.name,
            "compressc.normalization.mean": " ".join(f"{x:g}" for x in self.normalization.mean),
            "compressc.normalization.std": " ".join(f"{x:g}" for x in self.normalization.std),
            "compressc.classes": "\n".join(self.classes),
        }

    def fingerprint(self) -> str:
        """Return a digest of the pictures' names and sizes, and of how they are read."""
        return self._digest(self.train, self.val)

    def test_fingerprint(self) -> str:
        """Return a digest of the test split's pictures."""
        return self._digest(self.test)

    def _digest(self, *parts: PictureBatches) -> str:
        digest = hashlib.sha256()
        listed = [part.decoded.pictures.content() for part in parts]
        read = (self.normalization, self.train.decoded.size, self.train.batch_size)
        feed_content(digest, (listed, read))
        return digest.hexdigest()

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training split once: random crops, colour pictures mirrored half the time."""
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.randperm(len(self.train.decoded), generator=generator)
        batches = self.train.cut(order)
        for images, labels in walk_pictures(self.train.decoded, batches, generator):
            yield (self._input(_flipped(images, generator)),), labels

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield up to ``samples`` training images, whole."""
        order = torch.randperm(
            len(self.train.decoded), generator=torch.Generator().manual_seed(seed)
        )
        chosen = replace(self.train, whole=False).cut(order[:samples])
        for images, _ in walk_pictures(self.train.decoded, chosen):
            yield (self._input(images),)

    def validation_batches(self, samples: int, seed: int) -> Iterator[Batch]:
        """Yield at most ``samples`` search-validation images with labels; 0 for all."""
        task = self.sample_validation(samples, seed) if samples else self
        for images, labels in task.val:
            yield (self._input(images),), labels

    def sample_validation(self, samples: int, seed: int) -> StreamedTask:
        """Return this task with at most ``samples`` search-validation images."""
        rows = _sample(len(self.val.decoded), samples, seed)
        return self if rows is None else replace(self, val=self.val.take(rows))

    def count_validation(self) -> int:
        """Return the number of search-validation images."""
        return len(self.val.decoded)

    def check_model(self, program: Program) -> None:
        """Check that a model knows these classes.

        Raises:
            DataError: if it has fewer, or is no classifier.
        """
        count = count_classes(program)
        if count is None or count < len(self.classes):
            raise DataError(
                f"{self.name}: has {len(self.classes)} classes, the model "
                f"{count or 'is no classifier'}; these data are not what it was trained for"
            )

    def prepare(self, inputs: Inputs) -> Inputs:
        """Return uint8 pictures as the network reads them."""
        return tuple(map(self._input, inputs))

    def _input(self, images: Tensor) -> Tensor:
        inputs = self.normalization.apply(as_pixels(images))
        return inputs.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class StreamedUnlabeledTask(UnlabeledTask):
    """Pictures without labels, never all in memory.

    Attributes:
        pictures: the three splits, by the names of the fields that stay empty here.
    """

    pictures: Mapping[str, DecodedPictures] = field(default_factory=dict)

    def _count(self, part: str) -> int:
        return len(self.pictures[part])

    def _walk(
        self, part: str, batches: Sequence[Tensor], generator: torch.Generator | None = None
    ) -> Iterator[Inputs]:
        for images, _ in walk_pictures(self.pictures[part], batches, generator):
            changed = images if generator is None else _flipped(images, generator)
            yield (self._input(changed, None),)

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        seen = [self.pictures[part].pictures.content() for part in ("train", "val")]
        size = self.pictures["train"].size
        feed_content(digest, (self.original, seen, size, self.normalization, self.batch_size))
        return digest.hexdigest()

    def sample_validation(self, samples: int, seed: int) -> StreamedUnlabeledTask:
        """Return this task with at most ``samples`` search-validation pictures."""
        rows = _sample(self._count("val"), samples, seed)
        return self if rows is None else self._with(val=rows)

    def keep_validation(self) -> StreamedUnlabeledTask:
        """Return this task with its search-validation split only."""
        nothing = torch.arange(0)
        return self._with(train=nothing, test=nothing)

    def _with(self, **rows: Tensor) -> StreamedUnlabeledTask:
        chosen = {
            part: replace(self.pictures[part], pictures=self.pictures[part].pictures.take(taken))
            for part, taken in rows.items()
        }
        return replace(self, pictures={**self.pictures, **chosen})


def stream_labeled(
    index: PictureIndex,
    normalization: Normalization | None,
    size: tuple[int, int],
    channels: int,
    batch_size: int,
) -> StreamedTask:
    """Return the task of labelled pictures.

    Args:
        index: the pictures, in three splits.
        normalization: of the trained network; None for what some training images show.
        size: (height, width) that pictures are brought to.
        channels: 1 or 3.
        batch_size: for training and evaluation.
    """
    train, val, test = (
        DecodedPictures(index.parts[part], size, channels) for part in ("train", "val", "test")
    )
    return StreamedTask(
        train=PictureBatches(train, batch_size, whole=True),
        val=PictureBatches(val, batch_size),
        test=PictureBatches(test, batch_size),
        loss_function=F.cross_entropy,
        metric=mean_of(_correct),
        metric_name="test accuracy [%]",
        name=index.name,
        classes=index.classes,
        normalization=normalization or estimate_normalization(train),
    )


def stream_unlabeled(
    name: str,
    pictures: Pictures,
    original: Program,
    normalization: Normalization | None,
    size: tuple[int, int],
    channels: int,
    batch_size: int,
    seed: int,
) -> StreamedUnlabeledTask:
    """Return the task of pictures without labels.

    Args:
        name: of the data set.
        pictures: where they lie.
        original: what models are compared with.
        normalization: of the trained network; None for what some training images show.
        size: (height, width) that pictures are brought to.
        channels: 1 or 3.
        batch_size: for training and evaluation.
        seed: decides the splits.
    """
    rows = split_rows(len(pictures), seed)
    parts = {
        part: DecodedPictures(pictures.take(taken), size, channels)
        for part, taken in zip(("train", "val", "test"), rows, strict=True)
    }
    return StreamedUnlabeledTask(
        original,
        train=(),
        val=(),
        test=(),
        inputs_from=f"pictures of {name}",
        normalization=normalization or estimate_normalization(parts["train"]),
        batch_size=batch_size,
        notes=(f"{name}: {len(pictures)} images, read as they are needed",),
        pictures=parts,
    )


def _sample(count: int, samples: int, seed: int) -> Tensor | None:
    """Return ``samples`` of ``count`` rows in their order, None for all of them."""
    if samples >= count:
        return None
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[:samples].sort().values


def _flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    return flip(images, generator) if images.shape[1] == 3 else images


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return 100.0 * (outputs.argmax(1) == targets).double()
