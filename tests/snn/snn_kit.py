"""A network of fully connected layers, a task that it learns in a second, and how tests run SNN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.passes.snn.switching import Snn
from compressc.program import Program
from compressc.tasks.loaders import LoaderTask, mean_of


class Perceptron(nn.Module):
    """12 inputs, hidden layers of 20 and 16 units, 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(12, 20), nn.Linear(20, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def make_program(network: type[nn.Module] = Perceptron) -> Program:
    torch.manual_seed(0)
    return compressc.capture(network().eval(), (torch.randn(2, 12),))


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    return 100.0 * (outputs.argmax(1) == targets).float()


def make_task(batches: int = 8, rows: int = 32) -> LoaderTask:
    """Return samples whose class is the largest of four sums of three inputs."""
    x = torch.randn(batches * rows, 12, generator=torch.Generator().manual_seed(1))
    y = x.view(-1, 4, 3).sum(2).argmax(1)
    pairs = list(zip(x.split(rows), y.split(rows), strict=True))
    loss = nn.functional.cross_entropy
    return LoaderTask(pairs, pairs, pairs, loss, mean_of(_right), "accuracy [%]")


def make_context(work_dir: Path | None = None, seed: int = 0, **goal: Any) -> Context:
    return Context(Goal(seed=seed, **goal), task=make_task(), work_dir=work_dir)


def quick(**fields: Any) -> Snn:
    return Snn(**{"epochs": 4, "precision": "float32", "switch_every": 2, **fields})
