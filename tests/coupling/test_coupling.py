"""ChannelGroups: what is coupled, what is pinned and why, what a plan may do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from compressc.channels.axes import size_of
from compressc.coupling.graph import Coupling, couple
from compressc.coupling.groups import ChannelGroup
from compressc.coupling.weight_masks import contracted_weights
from compressc.errors import PlanError
from compressc.frontend.tracing import capture
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.proof.randomization import randomized
from compressc.rules.registry import RULES
from compressc.rules.site import Site
from tests.plans import choose, counts, free_groups, random_plan, smallest_plan
from tests.strategies import Recipe, every_block

aten = torch.ops.aten


def _couple(*blocks: tuple[str, int], head: str = "pooled", stem: str = "one") -> Coupling:
    return couple(Recipe(tuple(blocks), head, stem).capture())


def _producers(group: ChannelGroup) -> set[str]:
    return {m.tensor.removesuffix(".weight") for m in group.members if m.role == "out"}


def _consumers(group: ChannelGroup) -> set[str]:
    return {m.tensor.removesuffix(".weight") for m in group.members if m.role == "in"}


def test_a_residual_stream_is_one_group() -> None:
    coupling = _couple(("residual", 0), ("residual", 1))
    stream = coupling.group("stem.0")
    assert {"stem.0", "blocks.0.second.0", "blocks.1.second.0"} <= _producers(stream)
    assert {"blocks.0.first.0", "blocks.1.first.0", "final.0"} <= _consumers(stream)
    assert {m.tensor for m in stream.members} >= {"stem.1.running_mean", "stem.1.bias"}
    inner = coupling.group("blocks.0.first.0")
    assert _consumers(inner) == {"blocks.0.second.0"}
    assert stream.pinned is inner.pinned is None


def test_concatenated_channels_stay_apart() -> None:
    coupling = _couple(("concat", 0))
    left, right = coupling.group("blocks.0.left.0"), coupling.group("blocks.0.right.0")
    places = {}
    for name, group in (("left", left), ("right", right)):
        (reader,) = (m for m in group.members if m.tensor == "final.0.weight")
        places[name] = reader.position.tolist()
    assert places == {"left": [0, 1, 2, 3], "right": [4, 5, 6, 7, 8, 9, 10, 11]}


def test_a_channel_read_twice_has_two_slices_per_unit() -> None:
    stem = _couple(("concat", 1)).group("stem.0")
    (reader,) = (m for m in stem.members if m.tensor == "final.0.weight")
    assert len(reader.unit) == 2 * stem.size
    assert reader.position[reader.unit == 0].tolist() == [0, 12]


def test_flattened_channels_take_their_pixels_along() -> None:
    final = _couple(("conv", 0), head="flattened").group("final.0")
    (reader,) = (m for m in final.members if m.tensor == "classify.weight")
    assert len(reader.unit) == 64 * final.size
    assert (reader.position[reader.unit == 1] == np.arange(64, 128)).all()
    assert final.width_per_unit == 1


def test_heads_are_cut_alike() -> None:
    coupling = _couple(("separate_attention", 0))
    query = coupling.group("blocks.0.query")
    assert query.size == 4
    assert query.width_per_unit == 2
    assert _producers(query) == {"blocks.0.query", "blocks.0.query.bias", "blocks.0.key"}
    assert coupling.group("blocks.0.value").size == 6


def test_outputs_and_inputs_are_pinned_with_reasons() -> None:
    coupling = _couple(("conv", 0))
    assert coupling.group("classify").pinned == "these channels are the model's output"
    reason = coupling.group("stem.0:in").pinned
    assert reason is not None
    assert "stem.0" in reason


class Odd(nn.Module):
    """An operation that surely has no rule, between layers that can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8)
        self.third, self.last = nn.Linear(8, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(self.first(x))
        hidden = torch.linalg.matrix_exp(hidden.unsqueeze(-1) * hidden.unsqueeze(-2) * 0.01)
        return self.last(self.third(hidden[..., 0]))


def test_an_unknown_operation_pins_what_it_touches_and_no_more() -> None:
    coupling = couple(capture(Odd(), (torch.randn(3, 6),)))
    reason = coupling.group("second").pinned
    assert reason is not None
    assert "operation without a rule" in reason
    assert "matrix_exp" in reason
    assert any(pin.reason == reason for pin in coupling.pins)
    assert coupling.group("first").pinned is None
    assert coupling.group("third").pinned is None


def test_names_patterns_keep_layers() -> None:
    program = Recipe((("residual", 0), ("conv", 0))).capture()
    kept = program.with_constraints(Constraints(keep=("blocks.1.*", "stem.0")))
    pinned = {g.name: g.pinned for g in couple(kept).groups}
    assert pinned["blocks.1.conv"] == "kept by --keep blocks.1.*"
    # The whole residual stream is one group.
    assert pinned["stem.0"] == "kept by --keep stem.0"
    assert pinned["blocks.0.first.0"] is None


def test_counts_are_steps_of_the_wanted_multiple() -> None:
    program = Recipe((("grouped", 0), ("separate_attention", 0)), width=12).capture()
    by_name = {
        g.name: g.multiple_of
        for g in couple(program.with_constraints(Constraints(multiple_of=8))).groups
    }
    assert by_name["stem.0"] == 8
    # Two heads: four units of two slices are eight channels.
    assert by_name["blocks.1.query"] == 4
    # Conv groups must keep equal counts whatever the multiple.
    grouped = couple(program).group("blocks.0.body.1.0")
    assert grouped.multiple_of == 2
    assert [labels.tolist() for labels in grouped.partitions] == [[0] * 8 + [1] * 8]


def test_conv_groups_met_two_ways_have_two_partitions() -> None:
    group = _couple(("grouped", 2)).group("blocks.0.body.1.0")
    assert sorted(int(labels.max()) + 1 for labels in group.partitions) == [2, 4]
    assert group.multiple_of == 4
    mask = choose(group, 8, np.random.default_rng(0))
    assert mask is not None
    for labels in group.partitions:
        assert len(set(np.bincount(labels[mask]))) == 1


def test_at_least_one_channel_stays_on_every_axis() -> None:
    coupling = _couple(("hierarchy", 0), ("split", 1), ("pad_shortcut", 2), ("slice", 0))
    kept = coupling.view(smallest_plan(coupling))
    axes = [axis for value in coupling.propagation.parameters.values() for axis in value]
    for value in coupling.propagation.values.values():
        for one in value if isinstance(value, list) else [value]:
            axes.extend(one or ())
    assert len(axes) > 100
    assert min(kept.count(axis) for axis in axes if size_of(axis)) == 1


def test_plans_that_do_not_fit_are_refused() -> None:
    program = Recipe((("grouped", 0),)).capture()
    coupling = couple(program)
    stem = coupling.group("stem.0")
    grouped = coupling.group("blocks.0.body.1.0")
    uneven = np.ones(16, dtype=bool)
    uneven[0] = False
    cases: list[tuple[dict[str, Any], str]] = [
        ({"keep": {"nobody": np.ones(3, bool)}}, "no ChannelGroup is called 'nobody'"),
        ({"keep": {stem.name: np.ones(3, bool)}}, r"has 8 units, the plan decides \(3,\)"),
        ({"keep": {stem.name: np.zeros(8, bool)}}, r"must keep at least 1 unit"),
        ({"keep": {"classify": np.arange(5) < 3}}, "'classify' is pinned: these channels are"),
        ({"keep": {grouped.name: uneven}}, "must keep the same number of channels"),
        ({"zero": {"nobody": np.ones(3, bool)}}, "the model has no such parameter"),
        ({"zero": {"classify.weight": np.ones(3, bool)}}, r"has shape \(3,\)"),
        (
            {"choice": {"nonsense": 7}},
            "no architecture node or block of that name",
        ),
    ]
    for decisions, message in cases:
        with pytest.raises(PlanError, match=message):
            couple(program).check(Plan(**decisions))
    couple(program).check(Plan(keep={"classify": np.ones(5, dtype=bool)}))


@pytest.mark.parametrize(("name", "variant"), every_block()[::9])
def test_units_are_interchangeable_and_disjoint(name: str, variant: int) -> None:
    coupling = _couple((name, variant), head="pair", stem="cat")
    names = [group.name for group in coupling.groups]
    assert len(set(names)) == len(names)
    for group in coupling.groups:
        assert len(np.unique(group.classes)) == group.size
        for member in group.members:
            slices = np.bincount(member.unit, minlength=group.size)
            assert slices.min() == slices.max() > 0
    classes = np.concatenate([group.classes for group in coupling.groups])
    assert len(np.unique(classes)) == len(classes)


def test_coupling_looks_at_shapes_not_at_values() -> None:
    program = Recipe((("shuffle", 1), ("grouped", 2), ("attention", 0))).capture()
    drawn = randomized(program)
    again = Recipe((("shuffle", 1), ("grouped", 2), ("attention", 0))).capture()
    for other in (drawn, again):
        for left, right in zip(couple(program).groups, couple(other).groups, strict=True):
            assert left.name == right.name
            assert (left.classes == right.classes).all()


def test_kept_speaks_of_every_class() -> None:
    program = Recipe((("conv", 0),)).capture()
    coupling = couple(program)
    assert coupling.kept(Plan()).all()
    plan = smallest_plan(coupling)
    removed = sum(int((~mask).sum()) for mask in plan.keep.values())
    assert int((~coupling.kept(plan)).sum()) == removed > 0
    assert random_plan(coupling, 0).digest == random_plan(coupling, 0).digest


def test_random_plans_fit_and_reach_the_bounds() -> None:
    program: Program = Recipe((("grouped", 3), ("shuffle", 0))).capture()
    for seed in range(5):
        program.with_plan(random_plan(couple(program), seed))
    program.with_plan(smallest_plan(couple(program)))
    for group in free_groups(couple(program)):
        assert counts(group)[-1] == group.size
        assert counts(group)[0] == max(
            group.minimum, *(int(labels.max()) + 1 for labels in group.partitions), 0
        )


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.last = nn.Linear(6, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.both(x).chunk(2, -1)
        return self.last(F.silu(left) * right)


def test_gates_leave_with_what_they_gate() -> None:
    group = couple(capture(Gated(), (torch.randn(3, 6),))).group("both")
    assert group.size == 8
    (producer,) = (m for m in group.members if m.tensor == "both.weight")
    assert producer.position[producer.unit == 2].tolist() == [2, 10]
    assert group.width_per_unit == 2


def test_what_a_rule_said_before_it_failed_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = (("conv", 0),)
    weight = "blocks.0.conv.weight"
    coupling = couple(Recipe(blocks).capture())
    assert weight in contracted_weights(coupling)
    whole = RULES[aten.conv2d.default]

    def failing(site: Site) -> Any:
        value = whole(site)
        if str(site.arg("weight").target) == weight:
            raise ValueError("a kernel that nobody knows")
        return value

    monkeypatch.setitem(RULES, aten.conv2d.default, failing)
    program = Recipe(blocks).capture()
    records = couple(program).propagation.records
    assert weight not in contracted_weights(couple(program))
    assert weight not in {name for name, _ in records.read_axes}
    assert weight not in {term.weight for term in records.macs}
    (node,) = (n.name for n in program.graph_module.graph.nodes if _reads(n, weight))
    assert not [entry for entry in records.contractions if entry.node == node]
    assert any("a kernel that nobody knows" in pin.reason for pin in couple(program).pins)


def _reads(node: fx.Node, weight: str) -> bool:
    return any(source.target == weight for source in node.all_input_nodes)
