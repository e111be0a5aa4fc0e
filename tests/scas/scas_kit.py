"""Textures that a network learns in seconds, as a task and as a file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import compressc
from compressc.choices.space import SpaceSize, find_space
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.models.training_data import DataSet, Labeled
from compressc.passes.scas.architecture_search import Scas
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

SIDE = 12
SPACES = ("darts", "enas-macro", "enas-micro", "smash")


class StoppedError(Exception):
    """Stands for a kill."""


def textures(count: int, seed: int) -> Labeled:
    """Return grey noise in which one of three textures is hidden."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 110, (count, 1, SIDE, SIDE), generator=generator)
    stripes = torch.arange(SIDE) % 2 * 140
    images[labels == 0] += stripes
    images[labels == 1] += stripes[:, None]
    return Labeled(images.clamp(max=255).to(torch.uint8), labels)


def make_task(train: int = 96, val: int = 48) -> ClassificationTask:
    data = DataSet("textures", textures(train, 0), textures(val, 1), textures(48, 2), 0)
    return ClassificationTask(data, tuple("abc"), Normalization((0.4,), (0.25,)), batch_size=32)


def write_textures(path: Path, train: int = 240) -> Path:
    arrays = {}
    for part, count in (("train", train), ("test", 60)):
        examples = textures(count, len(part))
        arrays[f"{part}_images"] = examples.images[:, 0].numpy()
        arrays[f"{part}_labels"] = examples.labels.numpy()
    np.savez(path, **arrays)
    return path


@cache
def supernet(space: str, layers: int = 3, channels: int = 4, nodes: int = 2) -> Program:
    torch.manual_seed(0)
    net = find_space(space).build(SpaceSize(layers, channels, nodes), (1, SIDE, SIDE), 3)
    return compressc.capture(net.eval(), (torch.randn(2, 1, SIDE, SIDE),))


def quick(space: str = "", **fields: Any) -> Scas:
    usual = {
        "epochs": 2,
        "children": 3,
        "controller_steps": 3,
        "reward_samples": 24,
        "recalibrate": 32,
        "floor": 4,
        "sparsity": 0.5,
    }
    return Scas(space=space, **{**usual, **fields})


def make_context(work_dir: Path | None = None, seed: int = 0, **fields: Any) -> Context:
    return Context(
        Goal(seed=seed, trials=fields.pop("trials", None)),
        **{"task": make_task(), "work_dir": work_dir, **fields},
    )
