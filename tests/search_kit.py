"""A small network and a task on which searches take milliseconds per candidate."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

import compressc
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import DataSet, Labeled
from compressc.pass_fields import build_pass, read_settings
from compressc.passes.ascai.genetic_search import Ascai
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

CLASSES = 6


class Net(nn.Module):
    """A residual network with a linear layer, so that every space has something to search."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.a, self.norm_a = nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.b, self.norm_b = nn.Conv2d(16, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.wide, self.fc = nn.Linear(12, 24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.norm_b(self.b(torch.relu(self.norm_a(self.a(x))))))
        x = torch.relu(self.wide(x.mean((2, 3))))
        return self.fc(x)


def make_ascai(**settings: object) -> Ascai:
    """Return the search with some settings, given as flat as the command line gives them.

    What it hands over is what it judged, unless finalists are asked for.
    """
    search: Ascai = build_pass(Ascai, {"finalists": 0, **settings})
    return search


def change(search: Ascai, **settings: object) -> Ascai:
    """Return the search with some settings changed."""
    return make_ascai(**{**read_settings(search), **settings})


@cache
def trained() -> tuple[Program, ClassificationTask]:
    """Return a network that knows its task: images that are noise over one of six patterns."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 3, 8, 8, generator=generator)
    data = DataSet("patterns", *(_draw(patterns, n, generator) for n in (512, 192, 64)), 0)
    task = ClassificationTask(
        data, tuple("abcdef"), Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), batch_size=64
    )
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(6):
        for inputs, labels in task.train_batches(epoch, 0):
            optimizer.zero_grad()
            task.loss(model(*inputs), labels).backward()
            optimizer.step()
    return compressc.capture(model.eval(), (torch.randn(2, 3, 8, 8),)), task


def _draw(patterns: Tensor, count: int, generator: torch.Generator) -> Labeled:
    labels = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randn(count, *patterns.shape[1:], generator=generator)
    images = (127 + 24 * (patterns[labels] + 0.8 * noise)).clamp(0, 255).to(torch.uint8)
    return Labeled(images, labels)
