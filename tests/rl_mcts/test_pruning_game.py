"""The pruning game: what a move removes, when a game is over, what may not be touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError, PlanError
from compressc.goal import Goal
from compressc.passes.rl_mcts.aims import LatencyLimit, Route, count_segments, plan_route
from compressc.passes.rl_mcts.masks import allow_least, check_reach
from compressc.passes.rl_mcts.prunable_units import PrunableUnits, list_units
from compressc.passes.rl_mcts.pruning_game import PruningGame
from compressc.passes.unit_features.registry import measure_feature
from compressc.program import Constraints, Program
from tests.search_kit import trained


class Grouped(nn.Module):
    """A grouped convolution, so that units leave in pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.grouped = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3, groups=2)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.grouped(torch.relu(self.a(x)))).mean((2, 3)))


def grouped() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Grouped(), (torch.randn(2, 3, 8, 8),))


def units_of(program: Program) -> PrunableUnits:
    return list_units(program, measure_feature(program, "l2"))


def route_of(units: PrunableUnits, **bounds) -> Route:
    return plan_route(units, Context(Goal(**bounds)), "rl-mcts")


def game_of(units: PrunableUnits, per_move: int = 1, allowed=None, **bounds) -> PruningGame:
    allowed = units.everything if allowed is None else allowed
    return PruningGame(units, route_of(units, **bounds).aim_at(1.0), allowed, per_move)


def test_every_unit_of_every_group_has_a_place():
    program, _ = trained()
    units = units_of(program)
    groups = [group for group in couple(program).groups if group.pinned is None]
    assert [group.name for group in units.groups] == [group.name for group in groups]
    assert units.count == sum(group.size for group in groups)
    line = units.flatten(measure_feature(program, "l2"))
    for name, part in units.by_group(line).items():
        assert np.array_equal(part, measure_feature(program, "l2")[name])


def test_a_move_removes_the_unit_that_it_names_and_no_other():
    units = units_of(trained()[0])
    game = game_of(units, macs=0.5)
    start = game.position(units.everything)
    for action in (0, 13, units.count - 1):
        after = game.step(start, action)
        assert np.flatnonzero(~after.kept).tolist() == [action]
        assert sum(after.counts) == units.count - 1
        assert not game.legal(after)[action]


def test_several_units_of_a_move_are_the_least_important_of_its_group():
    program, _ = trained()
    units = units_of(program)
    norms = units.flatten(measure_feature(program, "l2"))
    game = game_of(units, per_move=3, macs=0.3)
    after = game.step(game.position(units.everything), 20)
    gone = np.flatnonzero(~after.kept)
    assert len(gone) == 3
    assert 20 in gone
    group = units.owner[20]
    rest = [u for u in np.argsort(norms) if units.owner[u] == group and u != 20]
    assert set(gone) == {20, *rest[:2]}


def test_a_move_takes_at_most_a_quarter_of_a_narrow_group():
    units = units_of(trained()[0])
    game = game_of(units, per_move=1000, macs=0.01)
    position, counts = game.position(units.everything), [units.groups[0].size]
    for _ in range(4):
        legal = np.flatnonzero(game.legal(position) & (units.owner == 0))
        position = game.step(position, int(legal[0]))
        counts.append(position.counts[0])
    assert counts == [12, 9, 7, 6, 5]


def test_the_last_move_removes_no_more_than_the_aim_asks_for():
    program, _ = trained()
    units = units_of(program)
    full = cost_of(program).macs
    worth = units.flatten(measure_feature(program, "l2"))
    game = game_of(units, per_move=4, macs=0.6)
    end = game.play_in_order(game.position(units.everything), worth)
    cost = couple(program).cost(units.plan_of(end.kept)).macs
    assert cost <= 0.6 * full
    # With any unit back it would not be met: the last one to leave was needed.
    group = units.owner[int(np.flatnonzero(~end.kept)[0])]
    fewer = [end.kept.copy() for _ in np.flatnonzero(~end.kept)]
    for kept, place in zip(fewer, np.flatnonzero(~end.kept), strict=True):
        kept[place] = True
    costs = [couple(program).cost(units.plan_of(kept)).macs for kept in fewer]
    assert max(costs) > 0.6 * full
    assert group >= 0


@pytest.mark.parametrize("bound", [{"macs": 0.4}, {"params": 0.5}, {"size_bytes": 0.5}])
def test_games_end_where_each_bound_holds(bound):
    program, _ = trained()
    units = units_of(program)
    game = game_of(units, **bound)
    ((what, share),) = bound.items()
    rng = np.random.default_rng(0)
    for _ in range(5):
        end = game.play_at_random(game.position(units.everything), rng)
        plan = units.plan_of(end.kept)
        couple(program).check(plan)
        cost = couple(program).cost(plan)
        left = getattr(cost, what) / getattr(cost_of(program), what)
        assert share - 0.1 < left <= share


def test_a_predicted_latency_ends_a_game():
    units = units_of(trained()[0])

    def predict(counts) -> float:
        return 1.0 + float(counts.sum())

    whole = 1.0 + units.count
    route = Route(units, route_of(units, macs=0.99).bounds, LatencyLimit(predict, whole, 31.0))
    game = PruningGame(units, route.aim_at(1.0), units.everything)
    end = game.play_at_random(game.position(units.everything), np.random.default_rng(0))
    assert predict(np.array(end.counts)) <= 31.0 < predict(np.array(end.counts)) + 1
    half = route.aim_at(0.5).latency
    assert half is not None
    assert half.allowed_ms == pytest.approx((whole + 31.0) / 2)


@pytest.mark.parametrize("step", [1, 4, 16])
def test_counts_keep_their_step_and_conv_groups_stay_equal(step):
    program = grouped().with_constraints(Constraints(multiple_of=step))
    units = units_of(program)
    game = game_of(units, macs=0.999)
    game = PruningGame(units, game.aim, units.everything)
    rng, position = np.random.default_rng(0), game.position(units.everything)
    for _ in range(40):
        legal = np.flatnonzero(game.legal(position))
        if not len(legal):
            break
        after = game.step(position, int(rng.choice(legal)))
        assert after.counts != position.counts
        position = after
        couple(program).check(units.plan_of(position.kept))
        for count, group in zip(position.counts, units.groups, strict=True):
            assert count % group.multiple_of == 0 or count in (group.size, group.minimum)
    assert not len(legal)
    assert (game.lowest_counts(units.everything) == position.counts).all()


def test_layers_that_are_kept_have_no_units():
    program = trained()[0].with_constraints(Constraints(keep=("a",)))
    assert "a" not in {group.name for group in units_of(program).groups}
    with pytest.raises(PlanError, match="no channels that can leave"):
        units_of(trained()[0].with_constraints(Constraints(keep=("*",))))


def test_only_what_the_mask_allows_may_leave():
    program, _ = trained()
    units = units_of(program)
    importance = np.arange(units.count, dtype=float) + 1
    allowed = allow_least(units, importance, 0.5)
    assert allowed.sum() == units.count // 2
    assert allow_least(units, importance, 1.0).all()
    game = game_of(units, per_move=4, allowed=allowed, macs=0.7)
    end = game.play_at_random(game.position(units.everything), np.random.default_rng(1))
    assert end.kept[~allowed].all()
    # Within a group the least important half or so goes first.
    for name, mask in units.masks(allowed).items():
        values = units.by_group(importance)[name]
        assert mask.any()
        if not mask.all():
            assert values[mask].max() < values[~mask].min()


def test_a_mask_out_of_whose_reach_the_goal_lies_is_named_with_the_one_that_does():
    units = units_of(trained()[0])
    importance = np.random.default_rng(0).random(units.count)
    route = route_of(units, macs=0.3)
    with pytest.raises(GoalError, match=r"--mask 0\.1: .* too much is left; give --mask 0\.\d+ or"):
        check_reach(route, importance, allow_least(units, importance, 0.1), 0.1)
    try:
        check_reach(route, importance, allow_least(units, importance, 0.1), 0.1)
    except GoalError as error:
        enough = float(str(error).split("give --mask ")[1].split()[0])
    check_reach(route, importance, allow_least(units, importance, enough), enough)


def test_a_goal_out_of_reach_is_explained():
    units = units_of(trained()[0])
    with pytest.raises(GoalError, match="cannot be reached: pruning goes only down to"):
        check_reach(route_of(units, macs=1e-6), np.ones(units.count), units.everything, 1.0)
    limit = LatencyLimit(lambda counts: 1.0 + float(counts.sum()), 53.0, 2.0)
    route = Route(units, route_of(units, macs=0.5).bounds, limit)
    with pytest.raises(GoalError, match="latency target 2 ms cannot be reached"):
        check_reach(route, np.ones(units.count), units.everything, 1.0)


def test_there_must_be_a_goal():
    with pytest.raises(GoalError, match="nothing to aim at"):
        plan_route(units_of(trained()[0]), Context(Goal()), "rl-mcts")


def test_segments_divide_the_way():
    assert count_segments(0.5, 0.01, None, 14) == 50
    assert count_segments(0.5, 0.01, 140, 14) == 10
    assert count_segments(0.5, 0.3, None, 14) == 2
    assert count_segments(0.5, 1.0, None, 14) == 1
    assert count_segments(0.5, 0.01, 3, 14) == 1
    program, _ = trained()
    units, full = units_of(program), cost_of(program).macs
    route = route_of(units, macs=0.5)
    assert route.length == pytest.approx(0.5)
    game = PruningGame(units, route.aim_at(0.5), units.everything)
    end = game.play_at_random(game.position(units.everything), np.random.default_rng(0))
    assert 0.65 < couple(program).cost(units.plan_of(end.kept)).macs / full <= 0.75
