"""Without named passes: data are used where there are any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

import compressc
from compressc.contract.declaration import Pass
from compressc.contract.registry import registered_passes
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.pipeline.default_recipe import choose_recipe
from compressc.settings import Settings
from tests.passes.training_kit import make_program, make_task


@pytest.mark.parametrize("latency", [False, True])
@pytest.mark.parametrize("data", [False, True])
def test_every_recipe_is_made_of_installed_passes(latency, data):
    names = choose_recipe(latency=latency, data=data)
    assert set(names) <= set(registered_passes())
    assert ("calibrate" in names) == data
    assert ("latency" in names) == latency


def run(**more):
    result = compressc.compress(make_program(), settings=Settings(measure=False), **more)
    return [row.name for row in result.report.passes]


def test_compress_uses_the_data_it_is_given():
    goal = Goal(macs=0.6)
    assert run(goal=goal) == ["magnitude"]
    assert run(goal=goal, task=make_task()) == ["surgeon", "calibrate"]


def test_a_judge_of_the_result_alone_gives_no_samples():
    class Judge:
        metric_name = "sum"

        def evaluate(self, module):
            return float(sum(p.detach().sum() for p in module.parameters()))

    assert run(goal=Goal(macs=0.6), task=Judge()) == ["magnitude"]


def test_a_goal_without_anything_is_an_error():
    with pytest.raises(GoalError, match="asks for nothing"):
        compressc.compress(make_program(), goal=Goal(), task=make_task())
    with pytest.raises(TypeError):
        compressc.compress(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(("width", "step"), [(16, 4), (32, 8), (64, 16)])
def test_narrow_layers_get_a_finer_step_where_accuracy_counts(width, step, monkeypatch):
    monkeypatch.setattr("compressc.target.channel_multiple", lambda _machine: 16)
    layers = [torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.ReLU()]
    for _ in range(3):
        layers += [torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.ReLU()]
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 4)]
    program = compressc.capture(
        torch.nn.Sequential(*layers, *head).eval(), (torch.randn(2, 3, 8, 8),)
    )
    asked = {"goal": Goal(macs=0.9), "settings": Settings(measure=False)}
    passes = [_Nothing()]
    for more, first in (({"task": make_task()}, step), ({}, 16)):
        _Nothing.seen.clear()
        compressc.compress(program, passes=passes, **more, **asked)
        assert _Nothing.seen[0] == first


@dataclass(frozen=True)
class _Nothing(Pass):
    """Takes a quarter of every group, and notes the step it is asked for."""

    seen: ClassVar[list[int]] = []
    name: ClassVar[str] = "nothing"

    def __call__(self, program, context):
        self.seen.append(program.constraints.multiple_of)
        keep = {}
        for group in couple(program).groups:
            if group.pinned is None:
                keep[group.name] = np.arange(group.size) < group.size - group.size // 4
        return program.with_plan(replace(program.plan, keep=keep))
