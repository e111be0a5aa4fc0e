"""Image folders too large for memory: files are read when they are needed, by worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from compressc.content import feed_content
from compressc.datasets.file_index import FileIndex, ImageFile
from compressc.datasets.image_files import decode_file
from compressc.errors import DataError
from compressc.models.augmentation import flip
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import LEAST_DEVIATION, as_pixels
from compressc.program import Program
from compressc.tasks.classification import count_classes
from compressc.tasks.loaders import LoaderTask, mean_of
from compressc.tasks.protocol import Batch, Inputs

_WORKERS = 4
# Images from which mean and deviation are estimated.
_ESTIMATED_ON = 512
# The part of a picture's area that a training crop keeps at least.
_LEAST_CROP = 0.35


@dataclass(frozen=True, eq=False)
class PictureFiles(Dataset[tuple[Tensor, int]]):
    """Pictures of some files as uint8, decoded when asked for.

    Attributes:
        files: where they lie, with their labels.
        size: (height, width) that they are scaled and cropped to.
        channels: 1 or 3.
        crops: whether a random part is cut out, as is usual in training.
    """

    files: Sequence[ImageFile]
    size: tuple[int, int]
    channels: int
    crops: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        """Return a picture (C, H, W) and its label.

        Raises:
            DataError: if the file cannot be read.
        """
        file = self.files[place]
        share = 1.0
        if self.crops:
            share = float(torch.empty(()).uniform_(_LEAST_CROP, 1.0))
        corner = torch.rand(2).tolist() if self.crops else (0.5, 0.5)
        pixels = decode_file(file.path, self.size, self.channels, share, corner)
        if pixels is None:
            raise DataError(f"{file.path}: cannot be read as an image; repair or remove it")
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), file.label


@dataclass(frozen=True, eq=False)
class StreamedTask(LoaderTask):
    """Labelled image files in three splits, never all in memory.

    Attributes:
        index: the files.
        normalization: what turns pixels in [0, 1] into the input.
        size: (height, width) of the input.
        batch_size: for training and evaluation.
    """

    index: FileIndex
    normalization: Normalization
    size: tuple[int, int]
    batch_size: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done because the data are large."""
        return (f"{self.index.name}: {len(self.index)} images, read as they are needed",)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What an ONNX file should say about its input, by metadata key."""
        return {
            "compressc.data": self.index.name,
            "compressc.normalization.mean": " ".join(f"{x:g}" for x in self.normalization.mean),
            "compressc.normalization.std": " ".join(f"{x:g}" for x in self.normalization.std),
            "compressc.classes": "\n".join(self.index.classes),
        }

    def fingerprint(self) -> str:
        """Return a digest of the files' names and sizes, and of how they are read."""
        return self._digest("train", "val")

    def test_fingerprint(self) -> str:
        """Return a digest of the test split's files."""
        return self._digest("test")

    def _digest(self, *parts: str) -> str:
        digest = hashlib.sha256()
        listed = [[(f.name, f.size_bytes, f.label) for f in self.index.parts[p]] for p in parts]
        feed_content(digest, (listed, self.normalization, self.size, self.batch_size))
        return digest.hexdigest()

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training split once: random crops, colour pictures mirrored half the time."""
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        for (images,), labels in super().train_batches(epoch, seed):
            if images.shape[1] == 3:
                images = flip(images, generator)
            yield (self._input(images),), labels

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield up to ``samples`` training images, whole."""
        files = self.index.parts["train"]
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))
        pictures = PictureFiles(files, self.size, len(self.normalization.mean))
        chosen = Subset(pictures, order[:samples].tolist())
        for images, _ in make_loader(chosen, self.batch_size, shuffle=False):
            yield (self._input(images),)

    def validation_batches(self, samples: int, seed: int) -> Iterator[Batch]:
        """Yield at most ``samples`` search-validation images with labels; 0 for all."""
        task = self.sample_validation(samples, seed) if samples else self
        for images, labels in task.val:
            yield (self._input(images),), labels

    def sample_validation(self, samples: int, seed: int) -> StreamedTask:
        """Return this task with at most ``samples`` search-validation images."""
        files = self.index.parts["val"]
        if samples >= len(files):
            return self
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))
        chosen = [files[place] for place in sorted(order[:samples].tolist())]
        pictures = PictureFiles(chosen, self.size, len(self.normalization.mean))
        index = replace(self.index, parts={**self.index.parts, "val": tuple(chosen)})
        return replace(self, val=make_loader(pictures, self.batch_size, shuffle=False), index=index)

    def count_validation(self) -> int:
        """Return the number of search-validation images."""
        return len(self.index.parts["val"])

    def check_model(self, program: Program) -> None:
        """Check that a model knows these classes.

        Raises:
            DataError: if it has fewer, or is no classifier.
        """
        count = count_classes(program)
        if count is None or count < len(self.index.classes):
            raise DataError(
                f"{self.index.name}: has {len(self.index.classes)} classes, the model "
                f"{count or 'is no classifier'}; these data are not what it was trained for"
            )

    def prepare(self, inputs: Inputs) -> Inputs:
        """Return uint8 pictures as the network reads them."""
        return tuple(map(self._input, inputs))

    def _input(self, images: Tensor) -> Tensor:
        inputs = self.normalization.apply(as_pixels(images))
        return inputs.contiguous(memory_format=torch.channels_last)


def stream_images(
    index: FileIndex,
    normalization: Normalization | None,
    size: tuple[int, int],
    channels: int,
    batch_size: int,
) -> StreamedTask:
    """Return the task of a folder of image files.

    Args:
        index: the files, in three splits.
        normalization: of the trained network; None for what some training images show.
        size: (height, width) that pictures are brought to.
        channels: 1 or 3.
        batch_size: for training and evaluation.
    """
    train = PictureFiles(index.parts["train"], size, channels, crops=True)
    val, test = (PictureFiles(index.parts[part], size, channels) for part in ("val", "test"))
    return StreamedTask(
        train=make_loader(train, batch_size, shuffle=True),
        val=make_loader(val, batch_size, shuffle=False),
        test=make_loader(test, batch_size, shuffle=False),
        loss_function=F.cross_entropy,
        metric=mean_of(_correct),
        metric_name="test accuracy [%]",
        index=index,
        normalization=normalization or _estimate(replace(train, crops=False)),
        size=size,
        batch_size=batch_size,
    )


def make_loader(
    pictures: Dataset[tuple[Tensor, int]], batch_size: int, *, shuffle: bool
) -> DataLoader[Any]:
    """Return a loader that decodes in worker processes, one for each core but the caller's."""
    workers = min(_WORKERS, max(0, (os.cpu_count() or 1) - 1))
    return DataLoader(pictures, batch_size, shuffle=shuffle, num_workers=workers, drop_last=shuffle)


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return 100.0 * (outputs.argmax(1) == targets).double()


def _estimate(pictures: PictureFiles) -> Normalization:
    places = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    chosen = [as_pixels(pictures[int(place)][0]) for place in places[:_ESTIMATED_ON]]
    std, mean = torch.std_mean(torch.stack(chosen).double(), dim=(0, 2, 3))
    deviations = tuple(max(round(float(x), 4), LEAST_DEVIATION) for x in std)
    return Normalization(tuple(round(float(x), 4) for x in mean), deviations)
