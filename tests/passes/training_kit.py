"""A small network, a task it can learn in a second, and what tests of training share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.models.augmentation import shift_by_one
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import DataSet, Labeled
from compressc.passes.finetune import Finetune
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask


class Net(nn.Module):
    """Convolutions, optionally batch norms and dropout, four classes."""

    def __init__(self, norm: bool, dropout: float) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        return self.fc(self.dropout(torch.relu(self.b(x)).mean((2, 3))))


def make_program(norm: bool = True, dropout: float = 0.2, seed: int = 0) -> Program:
    torch.manual_seed(seed)
    return compressc.capture(Net(norm, dropout).eval(), (torch.randn(2, 3, 8, 8),))


def make_task(train: int = 240, batch_size: int = 32, seed: int = 0) -> ClassificationTask:
    """Return images of noise in which one of four textures is hidden."""

    def part(count: int, stream: int) -> Labeled:
        generator = torch.Generator().manual_seed(100 * seed + stream)
        labels = torch.arange(count) % 4
        images = torch.randint(0, 160, (count, 3, 8, 8), generator=generator)
        stripes = torch.arange(8) % 2 * 90
        images[labels == 0] += stripes
        images[labels == 1] += stripes[:, None]
        images[labels == 2] += (stripes[:, None] + stripes) % 180
        return Labeled(images.clamp(max=255).to(torch.uint8), labels)

    data = DataSet("textures", part(train, 0), part(80, 1), part(80, 2), 0)
    return ClassificationTask(
        data,
        tuple("abcd"),
        Normalization((0.4, 0.4, 0.4), (0.25, 0.25, 0.25)),
        augmentation=shift_by_one,
        batch_size=batch_size,
    )


def make_context(work_dir: Path | None = None, seed: int = 0, **fields) -> Context:
    fields = {"task": make_task(), **fields}
    return Context(Goal(seed=seed), work_dir=work_dir, **fields)


def quick(epochs: int = 3, learning_rate: float = 0.1, **fields) -> Finetune:
    return Finetune(epochs=epochs, learning_rate=learning_rate, precision="float32", **fields)


def assert_same_weights(one: Program, other: Program) -> None:
    """Bit for bit."""
    others = other.state()
    assert list(one.state()) == list(others)
    for name, tensor in one.state().items():
        assert torch.equal(tensor, others[name]), name


def read_standing(file: Path) -> dict[str, Any]:
    """Return how far training has come, from its state on disk."""
    content = file.read_bytes()[len("compressc-store-1 ") + 64 :]
    standing: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)["standing"]
    return standing


def epochs_done(file: Path) -> int:
    """Return how many epochs the state on disk has seen."""
    return int(read_standing(file)["epoch"])


def differ(one: Program, other: Program) -> bool:
    others = other.state()
    return any(not torch.equal(tensor, others[name]) for name, tensor in one.state().items())
