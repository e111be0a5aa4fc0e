from __future__ import annotations

import numpy as np
import pytest

from compressc.coupling.graph import couple
from compressc.goal import Bound
from compressc.passes.widths.costs import build_count_costs
from compressc.passes.widths.ladders import build_ladder
from compressc.plan import Plan


@pytest.mark.parametrize("what", ["macs", "params", "size_bytes"])
def test_counts_cost_what_the_plan_costs(program_of, network, what):
    coupling = couple(program_of(network))
    groups = [group for group in coupling.groups if group.pinned is None]
    rng = np.random.default_rng(0)
    ladders = [build_ladder(group, rng.random(group.size)) for group in groups]
    rungs = np.array([[rng.integers(ladder.steps + 1) for ladder in ladders] for _ in range(5)])
    bound = Bound(0.5, relative=True)
    fixed = {groups[0].name: int(ladders[0].counts[0])}
    costs = build_count_costs(coupling, groups[1:], fixed, {what: bound})
    counts = np.array(
        [[ladder.counts[r] for ladder, r in zip(ladders, row, strict=True)] for row in rungs]
    )
    original = getattr(coupling.cost(Plan()), what)
    for row, slack in zip(rungs, costs.slack(counts[:, 1:]), strict=True):
        keep = {g.name: lad.mask(r) for g, lad, r in zip(groups, ladders, row, strict=True)}
        keep[groups[0].name] = ladders[0].mask(0)
        expected = 0.5 - getattr(coupling.cost(Plan(keep=keep)), what) / original
        assert slack == pytest.approx(expected, abs=1e-6)


def test_the_tightest_bound_decides(program_of):
    coupling = couple(program_of("Plain"))
    groups = [group for group in coupling.groups if group.pinned is None]
    loose, tight = Bound(0.9, relative=True), Bound(0.2, relative=True)
    costs = build_count_costs(coupling, groups, {}, {"macs": loose, "params": tight})
    full = np.array([[group.size for group in groups]])
    assert costs.slack(full)[0] == pytest.approx(-0.8, abs=1e-6)


@pytest.mark.parametrize("what", ["macs", "params", "size_bytes"])
def test_factorised_layers_cost_what_the_fitted_plan_costs(program_of, network, what):
    coupling = couple(program_of(network))
    groups = [group for group in coupling.groups if group.pinned is None]
    ladders = [build_ladder(group, np.arange(group.size, dtype=float)) for group in groups]
    rank = {}
    for name, site in coupling.factor_sites.sites.items():
        inputs, outputs = (sum(f.size for f in axis) for axis in (site.in_axis, site.out_axis))
        chosen = tuple(max(1, size // 3) for size in site.sizes(inputs, outputs))
        if site.saves(chosen, inputs, outputs):
            rank[name] = chosen
    assert rank
    costs = build_count_costs(coupling, groups, {}, {what: Bound(0.5, relative=True)}, rank)
    original, left = getattr(coupling.cost(Plan()), what), set()
    rng = np.random.default_rng(0)
    for _ in range(8):
        row = [int(rng.integers(ladder.steps + 1)) for ladder in ladders]
        keep = {g.name: lad.mask(r) for g, lad, r in zip(groups, ladders, row, strict=True)}
        plan = coupling.fit_ranks(Plan(keep=keep, rank=rank))
        left.add(len(plan.rank))
        counts = np.array([[lad.counts[r] for lad, r in zip(ladders, row, strict=True)]])
        expected = 0.5 - getattr(coupling.cost(plan), what) / original
        assert costs.slack(counts)[0] == pytest.approx(expected, abs=1e-6)
    assert len(left) > 1
