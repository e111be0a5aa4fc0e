"""Search spaces: from points to plans."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compressc.coupling.graph import couple
from compressc.errors import PlanError
from compressc.passes.spaces.coordinates import METHODS, Point
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.spaces.space_building import build_space
from compressc.passes.unit_features.registry import measure_feature
from compressc.plan import Plan
from compressc.program import Constraints, Program
from tests.oracle import check_theorem
from tests.search_kit import trained


def space(*methods: str, program: Program | None = None) -> SearchSpace:
    program = program or trained()[0]
    return build_space(program, methods or METHODS, measure_feature(program, "l1"))


def plan(found: SearchSpace, **values: float) -> Plan:
    """Return the plan of an individual that compresses nothing but the given coordinates."""
    vector = found.whole.copy()
    names = [one.name for one in found.coordinates]
    for name, value in values.items():
        vector[names.index(name.replace("__", ".").replace("_", " "))] = value
    return found.plan_of(found.point(vector))


def test_coordinates_are_what_the_methods_can_compress():
    assert [one.name for one in space("ps").coordinates] == ["ps stem", "ps a", "ps wide"]
    assert [one.name for one in space("pn").coordinates] == [
        f"pn {layer}.weight" for layer in ("stem", "a", "b", "wide", "fc")
    ]
    assert {one.place: one.steps for one in space("svd").coordinates} == {"wide": 12, "fc": 6}
    assert [(one.place, one.side, one.steps) for one in space("tucker").coordinates] == [
        (layer, side, 3 if (layer, side) == ("stem", "in") else 8)
        for layer in ("stem", "a", "b")
        for side in ("out", "in")
    ]
    assert len(space().coordinates) == 3 + 5 + 2 + 6


def test_an_individual_is_a_frozen_value_and_its_plan_is_a_function_of_it():
    found = space()
    one = Point(tuple(float(v) for v in (found.whole + found.least) / 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.values = ()
    assert found.plan_of(one) == space().plan_of(Point(one.values))
    assert hash(one) == hash(Point(one.values))


def test_the_whole_individual_changes_nothing():
    found = space()
    assert not found.plan_of(found.point(found.whole))


def test_shares_remove_channels():
    found, program = space("ps"), trained()[0]
    decided = plan(found, ps_a=0.5)
    assert {name: int(mask.sum()) for name, mask in decided.keep.items()} == {"a": 8}
    least = measure_feature(program, "l1")["a"]
    assert set(np.flatnonzero(~decided.keep["a"])) == set(np.argsort(least)[:8])
    everything = found.plan_of(found.point(found.least))
    assert {int(mask.sum()) for mask in everything.keep.values()} == {1}


def test_shares_remove_the_smallest_weights():
    found, program = space("pn"), trained()[0]
    decided = plan(found, pn_b__weight=0.7)
    mask = decided.zero["b.weight"]
    sizes = program.state()["b.weight"].abs().numpy()
    assert (~mask).sum() == int(0.7 * mask.size)
    assert sizes[~mask].max() <= sizes[mask].min()


def test_steps_are_shares_of_the_full_rank():
    found = space("svd", "tucker")
    assert plan(found, svd_wide=4).rank == {"wide": (4,)}
    assert plan(found, tucker_a_out=2, tucker_a_in=4).rank == {"a": (4, 6)}
    assert plan(found, tucker_stem_out=2, tucker_stem_in=3).rank == {"stem": (3, 3)}


def test_ranks_follow_the_channels_that_stay():
    found = space("ps", "tucker")
    both = plan(found, ps_a=0.5, tucker_a_out=2, tucker_a_in=4)
    assert both.keep["a"].sum() == 8
    assert both.rank == {"a": (2, 6)}


def test_a_factorisation_that_would_cost_more_is_not_emitted():
    found, program = space("svd", "tucker"), trained()[0]
    assert plan(found, svd_wide=11, tucker_a_out=8, tucker_a_in=7).rank == {}
    rng = np.random.default_rng(0)
    whole = couple(program).layers(Plan())
    for _ in range(50):
        decided = found.plan_of(found.point(rng.uniform(found.least, found.whole)))
        for before, after in zip(whole, couple(program).layers(decided), strict=True):
            assert (after.macs < before.macs) == (after.name in decided.rank)


def test_a_factorised_layer_gets_no_mask():
    found = space("pn", "svd")
    decided = plan(found, svd_fc=2, pn_fc__weight=0.5, pn_wide__weight=0.5)
    assert decided.rank == {"fc": (2,)}
    assert set(decided.zero) == {"wide.weight"}


@pytest.mark.parametrize("seed", range(4))
def test_any_individual_of_all_spaces_is_a_plan_that_can_be_lowered(seed):
    found, program = space(), trained()[0]
    rng = np.random.default_rng(seed)
    low, high = np.minimum(found.least, found.whole), np.maximum(found.least, found.whole)
    decided = found.plan_of(found.point(rng.uniform(low, high)))
    assert decided.keep
    assert decided.zero or decided.rank
    check_theorem(program, decided)


def test_values_are_clipped_and_steps_rounded():
    found = space("ps", "svd")
    clipped = found.clip(np.array([-0.5, 0.25, 7.0, 99.0, -3.0]))
    assert clipped.tolist() == [0.0, 0.25, 1.0, 12.0, 1.0]
    assert found.clip(np.array([0, 0, 0, 3.4, 3.6])).tolist()[3:] == [3.0, 4.0]


def test_kept_layers_are_not_searched():
    program = trained()[0].with_constraints(Constraints(keep=("a", "wide")))
    found = space(program=program)
    assert {one.place.removesuffix(".weight") for one in found.coordinates} == {"stem", "b", "fc"}


def test_widths_and_ranks_keep_to_the_machine_s_step():
    program = trained()[0].with_constraints(Constraints(multiple_of=4))
    found = space("ps", "tucker", program=program)
    decided = plan(found, ps_a=0.4, tucker_b_out=2, tucker_b_in=2)
    assert int(decided.keep["a"].sum()) % 4 == 0
    assert all(r % 4 == 0 for r in decided.rank["b"])


def test_decisions_outside_the_space_stay():
    program = trained()[0]
    mask = np.ones(16, dtype=bool)
    mask[3] = False
    pruned = program.with_plan(Plan(keep={"a": mask}))
    found = space("svd", program=pruned)
    decided = plan(found, svd_wide=3)
    assert decided.keep.keys() == {"a"}
    assert decided.rank == {"wide": (3,)}


def test_nothing_to_search_is_an_error():
    program = trained()[0].with_constraints(Constraints(keep=("*",)))
    with pytest.raises(PlanError, match="finds nothing to compress by svd"):
        space("svd", program=program)
