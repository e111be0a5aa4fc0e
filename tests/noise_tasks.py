"""Tasks made of noise: one without labels, one whose labels are what a network says."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from compressc.program import Program


class Noise:
    """A task without labels, for passes that look at data.

    Attributes:
        asked: the samples that were last asked for.
    """

    metric_name = "none"

    def __init__(
        self,
        shape: tuple[int, ...] = (3, 8, 8),
        dtype: torch.dtype = torch.double,
        most: int = 1024,
    ) -> None:
        self.shape, self.dtype, self.most, self.asked = shape, dtype, most, 0

    def calibration_batches(self, samples: int, seed: int) -> Iterator[tuple[Tensor]]:
        self.asked = samples
        generator = torch.Generator().manual_seed(seed)
        for rows in torch.arange(min(samples, self.most)).split(32):
            yield (torch.randn(len(rows), *self.shape, generator=generator, dtype=self.dtype),)

    def fail(self, *_arguments: object) -> None:
        raise AssertionError("this needs no labels and no metric")

    train_batches = loss = validate = evaluate = fail


class Mimicry(Noise):
    """A task whose labels are what the program says; its test split is out of reach."""

    metric_name = "accuracy"

    def __init__(self, program: Program) -> None:
        super().__init__(dtype=torch.float32, most=16)
        self.program = program

    def train_batches(self, epoch: int, seed: int) -> Iterator[tuple[tuple[Tensor], Tensor]]:
        for inputs in self.calibration_batches(16, seed):
            yield inputs, self.program.graph_module(*inputs).argmax(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def validate(self, module: nn.Module) -> float:
        ((inputs, targets),) = self.train_batches(0, seed=99)
        with torch.no_grad():
            return 100.0 * float((module(*inputs).argmax(1) == targets).float().mean())
