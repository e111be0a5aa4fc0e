from __future__ import annotations

import pytest

from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.magnitude import Magnitude
from compressc.passes.random_pruning import RandomPruning
from compressc.plan import Plan


def test_it_reaches_the_goal_and_obeys_partitions(program_of, network):
    program = program_of(network)
    found = RandomPruning()(program, Context(Goal(macs=0.5)))
    assert 0.47 < cost_of(found).macs / couple(program).cost(Plan()).macs <= 0.5


def test_the_seed_decides(program_of):
    program = program_of("Residual")
    digests = [
        RandomPruning()(program, Context(Goal(macs=0.5, seed=seed))).plan.digest
        for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_it_is_not_magnitude_in_disguise(program_of):
    context = Context(Goal(macs=0.5))
    program = program_of("Residual")
    assert RandomPruning()(program, context).plan != Magnitude()(program, context).plan


def test_bad_settings_are_refused():
    with pytest.raises(PlanError, match="uniform or global"):
        RandomPruning(scope="all")
    with pytest.raises(GoalError, match="at most 1"):
        RandomPruning(ratios=(("*", 2.0),))
