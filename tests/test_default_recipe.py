"""Without named passes: data are used where there are any."""

from __future__ import annotations

import pytest
import torch

import compressc
from compressc.default_recipe import choose_recipe
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.pass_protocol import registered_passes
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
