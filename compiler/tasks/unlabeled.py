"""A Task of inputs without labels: a model is judged by how far it agrees with the original."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressc.content import feed_content
from compressc.errors import DataError
from compressc.models.augmentation import Augmentation
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import as_pixels
from compressc.program import Program
from compressc.tasks.agreement import Agreement, Comparison, are_logits, float_outputs
from compressc.tasks.protocol import Batch, Inputs

_SHARES = (0.15, 0.15)
_BATCH = 128
# What torch raises where inputs do not fit a model.
_UNFIT = (IndexError, RuntimeError, ValueError, TypeError)


@dataclass(frozen=True, eq=False)
class UnlabeledTask:
    """Inputs in three splits; what the original says of them stands where labels would.

    Attributes:
        original: the network that others are compared with.
        train, val, test: one tensor per input of the network, samples on the first axis. Pictures
            become the network's input batch by batch, so that bytes stay bytes in memory.
        inputs_from: where the inputs come from, for people: "synthetic inputs".
        normalization: what turns pictures, uint8 or in [0, 1], into inputs; None for inputs as
            the network reads them.
        augmentation: random changes of training pictures, or None.
        batch_size: for training and evaluation; one that the network is bound to wins.
        notes: what the user should know of the inputs.
        identity: a digest that stands for the inputs; empty for a digest of them.
    """

    original: Program
    train: Inputs
    val: Inputs
    test: Inputs
    inputs_from: str
    normalization: Normalization | None = None
    augmentation: Augmentation | None = None
    batch_size: int = _BATCH
    notes: tuple[str, ...] = ()
    identity: str = ""

    @property
    def metric_name(self) -> str:
        """What is compared with the original."""
        if self._gives_logits:
            return f"agreement with the original on {self.inputs_from} [%]"
        return f"outputs of the original reproduced on {self.inputs_from} [%]"

    @cached_property
    def _teacher(self) -> nn.Module:
        return self.original.module().eval()

    @cached_property
    def _gives_logits(self) -> bool:
        with torch.no_grad():
            return are_logits(self._teacher(*self.original.example_inputs))

    @cached_property
    def _bound(self) -> int | None:
        return bound_batch(self.original)

    @cached_property
    def _batched(self) -> tuple[bool, ...]:
        return batched_inputs(self.original)

    def _count(self, part: str) -> int:
        return len(self._split(part)[self._batched.index(True)])

    def _split(self, part: str) -> Inputs:
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    def fingerprint(self) -> str:
        """Return a digest of everything that passes see: not of the test split."""
        return self.identity or self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        feed_content(
            digest, (self.original, self.train, self.val, self.normalization, self.batch_size)
        )
        return digest.hexdigest()

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training split once, augmented, and what the original says of it."""
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.randperm(self._count("train"), generator=generator)
        for inputs in self._walk("train", self._cut(order), generator):
            with torch.no_grad():
                said = self._teacher(*inputs)
            yield inputs, said

    def train_steps(self) -> int:
        """Return how many batches :meth:`train_batches` yields."""
        return len(self._cut(torch.arange(self._count("train"))))

    def calibration_batches(self, samples: int, seed: int) -> Iterator[Inputs]:
        """Yield up to ``samples`` training samples, each at most once."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self._count("train"), generator=generator)[:samples]
        yield from self._walk("train", self._cut(order))

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the divergence from the original's outputs.

        Logits by the divergence of distributions; everything else by the mean square of the
        error, beside that of the original's outputs, averaged over the outputs.
        """
        if are_logits(outputs):
            pupil, teacher = (F.log_softmax(x.float(), dim=1) for x in (outputs, targets))
            return F.kl_div(pupil, teacher, reduction="batchmean", log_target=True)
        tiny = torch.finfo(torch.float32).tiny
        pairs = zip(float_outputs(outputs), float_outputs(targets), strict=True)
        errors = [F.mse_loss(x, y) / y.square().mean().clamp_min(tiny) for x, y in pairs]
        return torch.stack(errors).mean()

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return whether each sample gets the original's answer, (N,) bool."""
        return outputs.argmax(1) == targets.argmax(1)

    def sample_validation(self, samples: int, seed: int) -> UnlabeledTask:
        """Return this task with at most ``samples`` search-validation samples."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self._count("val"), generator=generator)
        rows = order[:samples].sort().values
        return replace(self, val=take_rows(self.val, self._batched, rows))

    def count_validation(self) -> int:
        """Return the number of search-validation samples."""
        return self._count("val")

    def keep_validation(self) -> UnlabeledTask:
        """Return this task with its search-validation split only, in memory of its own."""
        nothing = take_rows(self.val, self._batched, torch.arange(0))
        val = tuple(tensor.clone() for tensor in self.val)
        return replace(self, train=nothing, val=val, test=nothing, augmentation=None)

    def validate(self, module: nn.Module) -> float:
        """Return the agreement in percent on the search-validation split."""
        return self._compare(module, "val").percent

    def evaluate(self, module: nn.Module) -> float:
        """Return the agreement in percent on the test split."""
        return self.compare(module).percent

    def compare(self, module: nn.Module) -> Agreement:
        """Return how far a module agrees with the original on the test split."""
        return self._compare(module, "test")

    def check_model(self, program: Program) -> None:
        """Check that a model reads these inputs, and that its outputs can be compared.

        Raises:
            DataError: if it does not, or no divergence fits them.
        """
        first = next(self.calibration_batches(2, 0), None)
        judged = [self._cut(torch.arange(self._count(part))) for part in ("val", "test")]
        if first is None or not all(judged):
            raise DataError(f"{self.inputs_from}: too few to judge on; give a hundred")
        try:
            with torch.no_grad():
                outputs = program.graph_module(*first)
        except _UNFIT as error:
            reads = [tuple(tensor.shape[1:]) for tensor in program.example_inputs]
            given = [tuple(tensor.shape[1:]) for tensor in first]
            raise DataError(
                f"{self.inputs_from}: the model reads {reads} beside the batch, these are {given}"
            ) from error
        float_outputs(outputs)

    def _compare(self, module: nn.Module, part: str) -> Agreement:
        was_training = module.training
        module.eval()
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        comparison = Comparison()
        with torch.no_grad():
            for inputs in self._walk(part, self._cut(torch.arange(self._count(part)))):
                outputs = module(*(tensor.to(device) for tensor in inputs))
                comparison.add(self._teacher(*inputs), _on_cpu(outputs))
        module.train(was_training)
        return comparison.agreement()

    def _cut(self, order: Tensor) -> Sequence[Tensor]:
        """Return the rows of each batch; a network bound to a batch size gets no other."""
        size = self._bound or self.batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [rows for rows in parts if self._bound in (None, len(rows))]

    def _walk(
        self, part: str, batches: Sequence[Tensor], generator: torch.Generator | None = None
    ) -> Iterator[Inputs]:
        """Yield the inputs of each batch of a split; a generator changes them at random."""
        for rows in batches:
            taken = take_rows(self._split(part), self._batched, rows)
            yield tuple(self._input(tensor, generator) for tensor in taken)

    def _input(self, values: Tensor, generator: torch.Generator | None) -> Tensor:
        if values.dim() != 4:
            return values
        if generator is not None and self.augmentation is not None:
            values = self.augmentation(values, generator)
        if self.normalization is not None:
            values = self.normalization.apply(as_pixels(values))
        # Convolutions on CPUs run faster on this layout, and keep it.
        return values.contiguous(memory_format=torch.channels_last)


def _on_cpu(outputs: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.cpu(), outputs)


def split_inputs(inputs: Inputs, seed: int) -> tuple[Inputs, Inputs, Inputs]:
    """Return train, search-validation and test parts, shuffled, 70, 15 and 15 of 100.

    Args:
        inputs: samples on the first axis of each.
        seed: decides which sample goes where.
    """
    everywhere = (True,) * len(inputs)
    parts = split_rows(len(inputs[0]), seed)
    train, val, test = (take_rows(inputs, everywhere, rows) for rows in parts)
    return train, val, test


def split_rows(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions of train, search-validation and test among ``count`` samples."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    val, test = (max(1, round(share * count)) for share in _SHARES)
    return order[val + test :], order[:val], order[val : val + test]


def take_rows(inputs: Inputs, batched: Sequence[bool], rows: Tensor) -> Inputs:
    """Return some samples; inputs without a batch axis are the same for all of them."""
    pairs = zip(inputs, batched, strict=True)
    return tuple(tensor[rows] if has_batch else tensor for tensor, has_batch in pairs)


def batched_inputs(program: Program) -> tuple[bool, ...]:
    """Return for each input whether its first axis is the batch."""
    bound = bound_batch(program) is not None
    return tuple(
        example.dim() > 0 and (bound or 0 in axes)
        for example, axes in zip(program.example_inputs, program.dynamic_axes, strict=True)
    )


def bound_batch(program: Program) -> int | None:
    """Return the batch that a network is bound to, None where it may be any."""
    if any(0 in axes for axes in program.dynamic_axes):
        return None
    return next((len(x) for x in program.example_inputs if x.dim()), 1)
