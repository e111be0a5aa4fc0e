from __future__ import annotations

import pytest
import torch
from torch import nn

import compressc
from compressc.compression import compress
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError, PlanError
from compressc.factors.low_rank import factor_weight, relative_error
from compressc.goal import Goal
from compressc.passes.lowrank.factorization import Lowrank
from compressc.passes.lowrank.menus import build_menu, slice_weight
from compressc.passes.magnitude import Magnitude
from compressc.passes.sparsify import Sparsify
from compressc.plan import Plan
from compressc.program import Program
from compressc.reporting.page import render_page
from compressc.settings import Settings
from tests.oracle import check_theorem


def ratio(program: Program, what: str = "macs") -> float:
    return getattr(cost_of(program), what) / getattr(couple(program).cost(Plan()), what)


def notes(program: Program) -> tuple[str, ...]:
    return program.history[-1].notes


def truncate(model: nn.Module) -> None:
    """Give the layers b and c weights of rank 3."""
    for layer in (model.b[0], model.c[0]):
        layer.weight.copy_(factor_weight(layer.weight, (3, 3)).product())


def test_layers_of_low_rank_are_found_and_lose_nothing(altered):
    program = altered("Plain", truncate)
    found = Lowrank(energy=0.999999)(program, Context())
    assert found.plan.rank == {"b.0": (3, 3), "c.0": (3, 3)}
    assert ratio(found) < 0.1
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(
        compressc.lower(found).graph_module(x), program.graph_module(x), rtol=1e-4, atol=1e-5
    )


def test_only_layers_that_get_cheaper_are_factorised(program_of, network):
    program = program_of(network)
    found = Lowrank(energy=0.5)(program, Context())
    before = {row.name: row.macs for row in couple(program).layers(Plan())}
    after = {row.name: row.macs for row in couple(program).layers(found.plan)}
    for name, macs in before.items():
        assert (after[name] < macs) == (name in found.plan.rank)
    assert not found.plan.keep
    check_theorem(program, found.plan)


def test_more_energy_keeps_more(program_of):
    program = program_of("Residual")
    plans = [Lowrank(energy=energy)(program, Context()) for energy in (0.3, 0.5, 0.7)]
    costs = [cost_of(found).macs for found in plans]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
    for layer in ("a.0", "b.0"):
        weight = slice_weight(program, couple(program).factor_sites.site(layer))
        errors = [
            relative_error(weight, factor_weight(weight, found.plan.rank[layer])) for found in plans
        ]
        assert errors == sorted(errors, reverse=True)


def test_the_energy_bounds_the_error(program_of):
    program = program_of("Plain")
    for energy in (0.3, 0.6):
        found = Lowrank(energy=energy)(program, Context())
        assert found.plan.rank
        for layer, ranks in found.plan.rank.items():
            weight = slice_weight(program, couple(program).factor_sites.site(layer))
            lost = relative_error(weight, factor_weight(weight, ranks)) ** 2
            assert lost <= len(ranks) * (1 - energy) + 1e-9


@pytest.mark.parametrize("what", ["macs", "params", "size_bytes"])
@pytest.mark.parametrize("target", [0.7, 0.4])
def test_a_goal_is_met_from_below(program_of, what, target):
    for name in ("Plain", "Residual", "Concat"):
        found = Lowrank()(program_of(name), Context(Goal(**{what: target})))
        assert target - 0.03 < ratio(found, what) <= target
        assert any("meets the goal" in note for note in notes(found))


def test_several_bounds_hold_together(program_of):
    found = Lowrank()(program_of("Plain"), Context(Goal(macs=0.6, params=0.3)))
    assert ratio(found) <= 0.6
    assert 0.27 < ratio(found, "params") <= 0.3


def test_a_goal_out_of_reach_says_how_far_it_goes(program_of):
    program = program_of("Plain")
    with pytest.raises(GoalError, match=r"macs target 0.001 cannot be reached.*only down to") as e:
        Lowrank()(program, Context(Goal(macs=0.001)))
    reachable = float(str(e.value).partition("raise the target to about ")[2].split(",")[0])
    assert ratio(Lowrank()(program, Context(Goal(macs=reachable)))) <= reachable


def test_ranks_are_multiples_where_that_is_possible(program_of):
    found = Lowrank(energy=0.4)(program_of("Plain", multiple_of=16), Context())
    assert found.plan.rank["b.0"][0] % 16 == 0
    assert found.plan.rank["c.0"][1] % 16 == 0
    # Three input channels and ten classes are too few for that.
    assert found.plan.rank["a.0"][1] < 16
    assert all(r >= 1 for ranks in found.plan.rank.values() for r in ranks)


def test_kept_layers_stay(program_of):
    program = program_of("Plain", keep=("b.*",))
    found = Lowrank(energy=0.5)(program, Context())
    assert "c.0" in found.plan.rank
    assert "b.0" not in found.plan.rank
    assert "b.0 stays: kept by --keep b.*" in notes(found)


def test_patterns_choose_layers(program_of):
    program = program_of("Depthwise")
    found = Lowrank(energy=0.5, layers=("b.0", "c.*"))(program, Context())
    assert set(found.plan.rank) == {"b.0"}
    assert any(note.startswith("c.0 stays: it is a convolution with 64") for note in notes(found))
    with pytest.raises(PlanError, match="no layer matches 'nothing'"):
        Lowrank(layers=("nothing",))(program, Context())
    with pytest.raises(PlanError, match=r"c\.0 stays"):
        Lowrank(layers=("c.0",))(program, Context())


@pytest.mark.parametrize("energy", [0.0, 1.1, -1.0, float("nan")])
def test_an_impossible_energy_is_refused(energy):
    with pytest.raises(GoalError, match="energy"):
        Lowrank(energy=energy)


def test_an_energy_at_which_nothing_is_saved_is_an_error(program_of):
    with pytest.raises(GoalError, match="lower --energy"):
        Lowrank(energy=1.0)(program_of("Plain"), Context())


def test_notes_show_the_error_of_each_layer(program_of):
    program = program_of("Plain")
    found = Lowrank(energy=0.5)(program, Context())
    for layer, ranks in found.plan.rank.items():
        weight = slice_weight(program, couple(program).factor_sites.site(layer))
        error = relative_error(weight, factor_weight(weight, ranks))
        line = next(note for note in notes(found) if note.startswith(f"{layer}: "))
        assert f"rank {' x '.join(map(str, ranks))}, " in line
        assert line.endswith(f"relative error {error:.2g}")


def test_pruned_layers_are_factorised(program_of, network):
    # Nearly all work of Grouped is in its grouped convolutions, which stay.
    target = 0.64 if network == "Grouped" else 0.5
    pruned = Magnitude()(program_of(network), Context(Goal(macs=0.7)))
    found = Lowrank()(pruned, Context(Goal(macs=target)))
    assert target - 0.05 < ratio(found) <= target
    assert found.plan.rank
    assert found.plan.keep.keys() == pruned.plan.keep.keys()
    check_theorem(found, found.plan)


def test_factorised_layers_are_pruned(program_of, network):
    target = 0.95 if network == "Grouped" else 0.8
    ranked = Lowrank()(program_of(network), Context(Goal(macs=target)))
    found = Magnitude()(ranked, Context(Goal(macs=0.5)))
    assert 0.47 < ratio(found) <= 0.5
    assert found.plan.keep
    assert found.plan.rank.keys() <= ranked.plan.rank.keys()
    check_theorem(found, found.plan)


def test_low_ranks_survive_pruning(altered):
    ranked = Lowrank(energy=0.999999)(altered("Plain", truncate), Context())
    found = Magnitude()(ranked, Context(Goal(macs=0.04)))
    assert found.plan.rank == ranked.plan.rank
    assert found.plan.keep
    assert 0.03 < ratio(found) <= 0.04


def test_the_first_pass_reaches_the_goal_for_both(program_of):
    program, context = program_of("Plain"), Context(Goal(macs=0.5))
    pruned = Magnitude()(program, context)
    both = Lowrank()(pruned, context)
    assert both.plan.rank == {}
    assert both.plan.keep.keys() == pruned.plan.keep.keys()
    assert "the goal is met already" in notes(both)
    ranked = Lowrank()(program, context)
    assert Magnitude()(ranked, context).plan == ranked.plan


def test_pruning_may_make_a_factorisation_pointless(program_of):
    program = program_of("Plain")
    ranked = Lowrank(energy=0.7)(program, Context())
    found = Magnitude()(ranked, Context(Goal(macs=0.02)))
    dropped = ranked.plan.rank.keys() - found.plan.rank.keys()
    assert dropped
    for layer in dropped:
        assert f"{layer} is not factorised: it is cheaper whole now" in notes(found)
    assert ratio(found) <= 0.02


def test_sparsify_leaves_factorised_layers_alone(program_of):
    program = program_of("Residual")
    ranked = Lowrank(energy=0.5, layers=("a.*", "b.*"))(program, Context())
    both = Sparsify()(ranked, Context())
    assert both.plan.zero
    assert not {name.rpartition(".")[0] for name in both.plan.zero} & both.plan.rank.keys()
    again = Lowrank(energy=0.5)(Sparsify()(program, Context()), Context())
    assert not {name.rpartition(".")[0] for name in again.plan.zero} & again.plan.rank.keys()


def test_menus_follow_new_weights(program_of):
    program = program_of("Plain")
    before = build_menu(program, "b.0")
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    state["b.0.weight"] = factor_weight(state["b.0.weight"], (2, 2)).product().float()
    after = build_menu(program.with_state(state), "b.0")
    assert after.ranks_at(0.999) == (2, 2)
    assert before.ranks_at(0.999) != (2, 2)


def test_the_driver_proves_exports_and_reports(program_of):
    program = program_of("Plain")
    result = compress(
        program,
        goal=Goal(),
        passes=[Lowrank(energy=0.6)],
        multiple_of=1,
        settings=Settings(measure=False),
    )
    names = {check.name for check in result.report.verdict.checks}
    assert {"lowered == masked", "predicted cost == built cost", "torch == ONNX Runtime"} <= names
    assert result.report.verdict.passed
    assert result.report.after.macs == sum(row.macs_after for row in result.report.layers)
    assert any("relative error" in note for note in result.report.passes[0].notes)
    assert "relative error" in render_page(result.report)
    initializers = {tensor.name for tensor in result.onnx.graph.initializer}
    assert {"b.0.reduce.weight", "b.0.core.weight", "b.0.expand.weight"} <= initializers
