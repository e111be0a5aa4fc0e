"""Classification of images that are in memory: the Task that data sets give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressc.content import feed_content
from compressc.errors import DataError
from compressc.models.augmentation import Augmentation
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import DataSet, Labeled, as_pixels
from compressc.program import Program
from compressc.tasks.protocol import Batch, Inputs


@dataclass(frozen=True, eq=False)
class ClassificationTask:
    """Labelled images in three splits.

    Images stay uint8 in memory and become the network's input batch by batch, so a data set takes
    a quarter of what floats would.

    Attributes:
        data: the splits.
        classes: their names, in the order of the labels.
        normalization: what turns pixels in [0, 1] into the input.
        augmentation: random changes of training images, or None.
        batch_size: for training and evaluation.
        label_smoothing: of the loss.
        notes: what was remarkable about the data, such as skipped files.
    """

    data: DataSet
    classes: tuple[str, ...]
    normalization: Normalization
    augmentation: Augmentation | None = None
    batch_size: int = 128
    label_smoothing: float = 0.0
    notes: tuple[str, ...] = ()
    metric_name: ClassVar[str] = "test accuracy [%]"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One example: (channels, height, width)."""
        return tuple(self.data.train.images.shape[1:])

    @property
    def metadata(self) -> Mapping[str, str]:
        """What an ONNX file should say about its input, by metadata key."""
        return {
            "compressc.data": self.data.name,
            "compressc.input_shape": " ".join(map(str, self.input_shape)),
            "compressc.normalization.mean": " ".join(f"{x:g}" for x in self.normalization.mean),
            "compressc.normalization.std": " ".join(f"{x:g}" for x in self.normalization.std),
            "compressc.classes": "\n".join(self.classes),
        }

    def fingerprint(self) -> str:
        """Return a digest of everything that passes see: not of the test split."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings = (
            self.data.name,
            self.data.split_seed,
            self.classes,
            self.normalization,
            self.augmentation,
            self.batch_size,
            self.label_smoothing,
        )
        return _digest(self.data.train, self.data.val, settings)

    def test_fingerprint(self) -> str:
        """Return a digest of the test split and of what turns its images into inputs."""
        return self._test_fingerprint

    @cached_property
    def _test_fingerprint(self) -> str:
        return _digest(self.data.test, self.normalization)

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the augmented training split once; a last batch of one image is left out.

        Shape:
            inputs ((N, C, H, W),), targets (N,) int64.
        """
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.randperm(len(self.data.train), generator=generator)
        for rows in order.split(self.batch_size):  # type: ignore[no-untyped-call]
            if len(rows) == 1 and len(order) > 1:
                continue  # batch norm cannot train on one sample
            part = self.data.train.take(rows)
            images = part.images
            if self.augmentation is not None:
                images = self.augmentation(images, generator)
            yield (self._input(images),), part.labels

    def train_steps(self) -> int:
        """Return how many batches :meth:`train_batches` yields."""
        full, rest = divmod(len(self.data.train), self.batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0))

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield up to ``samples`` training images, each at most once.

        Shape:
            ((N, C, H, W),).
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.data.train), generator=generator)[:samples]
        for rows in order.split(self.batch_size):  # type: ignore[no-untyped-call]
            yield (self._input(self.data.train.images[rows]),)

    def sample_validation(self, samples: int, seed: int) -> ClassificationTask:
        """Return this task with at most ``samples`` search-validation images, drawn by the seed."""
        val = self.data.val
        if samples >= len(val):
            return self
        order = torch.randperm(len(val), generator=torch.Generator().manual_seed(seed))
        val = val.take(order[:samples].sort().values)
        return replace(self, data=replace(self.data, val=val))

    def validation_batches(self, samples: int, seed: int) -> Iterator[Batch]:
        """Yield at most ``samples`` search-validation images with their labels; 0 for all.

        Shape:
            inputs ((N, C, H, W),), targets (N,) int64.
        """
        val = (self.sample_validation(samples, seed) if samples else self).data.val
        for start in range(0, len(val), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield (self._input(val.images[rows]),), val.labels[rows]

    def count_validation(self) -> int:
        """Return the number of search-validation images."""
        return len(self.data.val)

    def keep_validation(self) -> ClassificationTask:
        """Return this task with its search-validation split only, in memory of its own."""
        val = self.data.val
        nothing = Labeled(val.images[:0].clone(), val.labels[:0].clone())
        # Slices share the memory of the whole; copies leave it behind.
        val = Labeled(val.images.clone(), val.labels.clone())
        data = replace(self.data, train=nothing, val=val, test=nothing)
        return replace(self, data=data, augmentation=None)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of logits (N, classes) with labels (N,)."""
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def validate(self, module: nn.Module) -> float:
        """Return the accuracy in percent on the search-validation split."""
        return self._accuracy(module, self.data.val)

    def evaluate(self, module: nn.Module) -> float:
        """Return the accuracy in percent on the test split."""
        return self._accuracy(module, self.data.test)

    def check_model(self, program: Program) -> None:
        """Check that a model reads these images and knows these classes.

        Raises:
            DataError: if channels, size or classes differ.
        """
        expected = tuple(program.example_inputs[0].shape[1:])
        have = self.input_shape
        if len(program.example_inputs) != 1 or len(expected) != 3:
            raise DataError(f"{self.data.name}: the model does not read one batch of images")
        if expected[0] != have[0]:
            raise DataError(
                f"{self.data.name}: the images have {have[0]} channel(s), the model reads "
                f"{expected[0]}; give images of that kind"
            )
        if expected != have and not any(axis > 1 for axis in program.dynamic_axes[0]):
            raise DataError(
                f"{self.data.name}: the images are {have[1]}x{have[2]}, the model reads "
                f"{expected[1]}x{expected[2]}; give this as the input size"
            )
        count = count_classes(program)
        if count is None:
            raise DataError(f"{self.data.name}: the model does not return one row of logits each")
        if count < len(self.classes):
            raise DataError(
                f"{self.data.name}: labels go up to {len(self.classes) - 1}, but the model has "
                f"{count} classes; these data are not what it was trained for"
            )

    def _accuracy(self, module: nn.Module, part: Labeled) -> float:
        was_training = module.training
        module.eval()
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        correct = 0
        with torch.no_grad():
            for start in range(0, len(part), self.batch_size):
                rows = slice(start, start + self.batch_size)
                logits = module(self._input(part.images[rows]).to(device))
                correct += int((logits.argmax(1).cpu() == part.labels[rows]).sum())
        module.train(was_training)
        return 100.0 * correct / len(part)

    def _input(self, images: Tensor) -> Tensor:
        inputs = self.normalization.apply(as_pixels(images))
        # Convolutions on CPUs run faster on this layout, and keep it.
        return inputs.contiguous(memory_format=torch.channels_last)


def count_classes(program: Program) -> int | None:
    """Return how many logits a model gives for each sample, None where it gives something else."""
    with torch.no_grad():
        outputs = program.graph_module(*program.example_inputs)
    return outputs.shape[1] if isinstance(outputs, Tensor) and outputs.dim() == 2 else None


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    feed_content(digest, parts)
    return digest.hexdigest()
