"""Identities change with everything that counts, and with nothing else."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from compressc.errors import NoIdentityError
from compressc.goal import Goal
from compressc.models.training_data import Labeled
from compressc.passes.magnitude import Magnitude
from compressc.store.identity import identify
from compressc.tasks.loaders import LoaderTask, mean_of
from tests.passes.training_kit import make_program, make_task

ROOT = Path(__file__).parents[2]


def test_every_bit_counts():
    program = make_program()
    batch = ((torch.zeros(2, 3),), torch.zeros(2, dtype=torch.int64))

    def known(*more: object, program=program) -> str:
        return identify("test", *more, program=program)

    base = known({"a": 1}, batch, ("finetune", 0))
    assert known({"a": 1}, batch, ("finetune", 0), program=make_program()) == base
    weights = {name: tensor.clone() for name, tensor in program.state().items()}
    weights["fc.bias"][0] += 1e-7
    changed = [
        known({"a": 1}, batch, ("finetune", 0), program=program.with_state(weights)),
        known(program, {"a": 1}, batch, ("finetune", 0)),
        known({"a": 2}, batch, ("finetune", 0)),
        known({"b": 1}, batch, ("finetune", 0)),
        known({"a": 1}, (batch[0], batch[1] + 1), ("finetune", 0)),
        known({"a": 1}, (batch[0], batch[1].float()), ("finetune", 0)),
        known({"a": 1}, batch, ("finetune", 1)),
        known({"a": 1}, batch, ("finetune", False)),
        identify("other", {"a": 1}, batch, ("finetune", 0), program=program),
    ]
    assert len({base, *changed}) == 1 + len(changed)


def test_constraints_and_zeros_count():
    program = make_program()
    held = replace(program.constraints, multiple_of=program.constraints.multiple_of + 1)
    sparse = replace(program, sparse_weights=("fc.weight",))
    programs = (program, program.with_constraints(held), sparse)
    assert len({identify("test", program=each) for each in programs}) == 3


def test_where_a_value_stands_counts():
    assert identify("", 1, (2, 3)) != identify("", (1, 2), 3)
    assert identify("", "12", "3") != identify("", "1", "23")
    assert identify("", [1, 2]) != identify("", (1, 2))
    assert identify("", np.zeros(4)) != identify("", np.zeros((2, 2)))


def test_goal_passes_and_target_count():
    base = identify("test", passes=[Magnitude()], goal=Goal(macs=0.5), target=(1, 1, None))
    others = [
        identify("test", passes=[], goal=Goal(macs=0.5), target=(1, 1, None)),
        identify("test", passes=[Magnitude("l1")], goal=Goal(macs=0.5), target=(1, 1, None)),
        identify("test", passes=[Magnitude()] * 2, goal=Goal(macs=0.5), target=(1, 1, None)),
        identify("test", passes=[Magnitude()], goal=Goal(macs=0.4), target=(1, 1, None)),
        identify("test", passes=[Magnitude()], goal=Goal(macs=0.5), target=(2, 1, None)),
    ]
    assert len({base, *others}) == 6


def score_by_ratio(ratio: float) -> float:
    return 2 * ratio


def make_score(factor: float):
    return lambda ratio: factor * ratio


class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, ratio: float) -> float:
        return self.factor * ratio

    def half(self, ratio: float) -> float:
        return self.factor * ratio / 2


@dataclass(frozen=True)
class Scored:
    score: object
    name: ClassVar[str] = "scored"


def test_functions_are_known_by_name_and_code():
    functions = [
        score_by_ratio,
        make_score(0.5),
        make_score(0.25),
        lambda ratio: ratio * 2,
        lambda ratio: ratio * 3,
        Scale(0.5),
        Scale(0.25),
        Scale(0.5).half,
        functools.partial(score_by_ratio, 0.5),
        functools.partial(score_by_ratio, ratio=0.5),
        max,
        Scale,
    ]
    known = [identify("test", passes=[Scored(function)]) for function in functions]
    assert len(set(known)) == len(known)
    # Objects made anew have other addresses and the same identity.
    assert known[1] == identify("test", passes=[Scored(make_score(0.5))])
    assert known[5] == identify("test", passes=[Scored(Scale(0.5))])


CHILD = """
from compressc.store.identity import identify
from tests.store.test_identity import Scale, Scored, make_score, score_by_ratio
for function in (score_by_ratio, make_score(0.5), Scale(0.5), {"b", "a", "c"}):
    print(identify("test", passes=[Scored(function)]))
"""


def test_other_processes_come_to_the_same():
    lines = {
        subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(lines) == 1
    assert len(set(lines.pop().split())) == 4


def test_what_nobody_could_know_again_is_refused():
    lock = threading.Lock()
    with pytest.raises(NoIdentityError, match="lock cannot be told"):
        identify("test", passes=[Scored(lock)])
    with pytest.raises(NoIdentityError):
        identify("test", passes=[Scored(lambda ratio: lock and ratio)])
    # Where nothing is kept it is no error, and never the same.
    unknown = [identify("test", passes=[Scored(lock)], kept=False) for _ in range(2)]
    assert unknown[0] != unknown[1]


def test_a_circle_comes_to_an_end():
    circle: list[object] = [1]
    circle.append(circle)
    other: list[object] = [1]
    other.append(other)
    assert identify("test", circle) == identify("test", other) != identify("test", [1, [1]])


def test_the_test_split_counts_where_its_metric_is_kept():
    task = make_task()
    test = task.data.test
    flipped = Labeled(test.images, test.labels.flip(0))
    other = replace(task, data=replace(task.data, test=flipped))
    assert identify("sweep", task=task) == identify("sweep", task=other)
    assert identify("sweep", task=task, tested=True) != identify("sweep", task=other, tested=True)
    again = identify("sweep", task=make_task(), tested=True)
    assert identify("sweep", task=task, tested=True) == again


def loaders(
    shift: float = 0.0, loss=torch.nn.functional.mse_loss, test_shift: float = 0.0
) -> LoaderTask:
    batch, test = (torch.full((4, 3), shift), torch.zeros(4)), torch.full((4,), test_shift)
    return LoaderTask([batch], [batch], [(batch[0], test)], loss, mean_of(lambda out, _: out), "m")


def test_loaders_are_known_by_batches_loss_and_metric():
    base = identify("test", task=loaders())
    assert base == identify("test", task=loaders())
    assert base != identify("test", task=loaders(shift=1.0))
    assert base != identify("test", task=loaders(loss=torch.nn.functional.l1_loss))
    assert base == identify("test", task=loaders(test_shift=1.0))
    tested = identify("test", task=loaders(), tested=True)
    assert tested != identify("test", task=loaders(test_shift=1.0), tested=True)


def test_looking_at_loaders_draws_no_random_numbers():
    state = torch.get_rng_state()
    data = torch.utils.data.TensorDataset(torch.randn(8, 3), torch.zeros(8))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    task = replace(loaders(), train=loader, val=loader, test=loader)
    torch.set_rng_state(state)
    assert identify("test", task=task, tested=True) == identify("test", task=task, tested=True)
    assert torch.equal(torch.get_rng_state(), state)
