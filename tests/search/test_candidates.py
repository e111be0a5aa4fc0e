"""Candidates compute what lowered networks compute, however they are built, and travel."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import compressc
from compressc.coupling.graph import couple
from compressc.coupling.weight_masks import contracted_weights
from compressc.errors import TransportError
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.plan import Plan
from compressc.search import candidates
from compressc.search.candidates import build_candidate, chains_pay
from compressc.search.judge import make_judge, unpack_judge
from compressc.search.skeleton import pack_skeleton, strip_program
from tests.plans import random_plan
from tests.search_kit import trained


def plan_of(kinds: str) -> Plan:
    program, _ = trained()
    plan = random_plan(couple(program), 5) if "keep" in kinds else Plan()
    assert bool(plan.keep) == ("keep" in kinds)
    if "rank" in kinds:
        plan = couple(program).fit_ranks(replace(plan, rank={"a": (4, 3), "wide": (3,)}))
        assert len(plan.rank) == 2
    if "zero" in kinds:
        rng = np.random.default_rng(0)
        shape = tuple(program.state()["b.weight"].shape)
        plan = plan.with_zero({"b.weight": rng.random(shape) > 0.5})
    return plan


@pytest.mark.parametrize("samples", [1, 10**9])
@pytest.mark.parametrize(
    "kinds", ["keep", "rank", "zero", "keep rank", "rank zero", "all: keep rank zero"]
)
def test_candidates_are_the_lowered_networks(kinds, samples):
    program, _ = trained()
    plan = plan_of(kinds)
    x = torch.randn(5, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    found = build_candidate(strip_program(program), couple(program), plan, samples)
    wanted = compressc.lower(program.with_plan(plan)).graph_module(x)
    torch.testing.assert_close(found(x), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(program.graph_module(x), wanted, atol=1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())


def test_chains_are_built_only_where_they_pay(monkeypatch):
    program, _ = trained()
    plan, module = plan_of("rank"), strip_program(program)
    nodes = len(module.graph.nodes)
    assert not chains_pay(couple(program), plan, nodes, samples=1)
    assert chains_pay(couple(program), plan, nodes, samples=10**9)
    few = build_candidate(module, couple(program), plan, samples=1)
    many = build_candidate(module, couple(program), plan, samples=10**9)
    assert len(few.graph.nodes) == nodes < len(many.graph.nodes)
    # Zeros change no graph, and channels always leave for real.
    zeros = build_candidate(module, couple(program), plan_of("zero"), samples=10**9)
    assert len(zeros.graph.nodes) == nodes
    pruned = build_candidate(module, couple(program), plan_of("keep"), samples=1)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in module.parameters())
    monkeypatch.setattr(candidates, "_CHAIN_PENALTY", 1e6)
    assert not chains_pay(couple(program), plan, nodes, samples=10**9)


def test_a_plan_that_does_not_fit_is_refused():
    program, _ = trained()
    plan = Plan(rank={"a": (400, 3)})
    with pytest.raises(compressc.errors.PlanError, match="must lie between"):
        build_candidate(strip_program(program), couple(program), plan, 100)


def test_a_skeleton_survives_a_pickle():
    program, _ = trained()
    module = strip_program(program)
    packed = pickle.dumps(pack_skeleton(module))
    built = pickle.loads(packed).build()
    assert [(n.op, n.name) for n in built.graph.nodes] == [
        (n.op, n.name) for n in module.graph.nodes
    ]
    x = torch.randn(3, 3, 8, 8)
    assert torch.equal(built(x), program.graph_module(x))
    names = {name for name, _ in built.named_parameters()}
    assert set(contracted_weights(couple(program))) <= names


def test_a_judge_judges_alike_everywhere():
    program, task = trained()
    judge = make_judge(program, task, tuple(task.calibration_batches(64, 0)))
    far = unpack_judge(judge.pack())
    for kinds in ("keep", "keep rank", "zero"):
        assert far.judge(plan_of(kinds)) == judge.judge(plan_of(kinds))
    assert far.judge(Plan()) == task.validate(program.module())


@pytest.mark.parametrize("kinds", ["keep", "keep rank", "zero", "all: keep rank zero"])
def test_a_repaired_candidate_is_judged_as_it_is_handed_over(kinds):
    program, task = trained()
    repair = JudgedWeights().open_repair(program, task, 0, "test", lambda *_: None)
    judge = make_judge(program, task, repair=repair)
    plan = plan_of(kinds)
    handed_over = compressc.lower(repair.repaired(program.with_plan(plan)))
    judged = judge.judge(plan)
    assert judged == pytest.approx(task.validate(handed_over.module()), abs=1.0)
    assert unpack_judge(judge.pack()).judge(plan) == judged
    assert judge.judge(Plan()) == task.validate(program.module())


def test_a_task_that_cannot_travel_is_named():
    class Local:
        metric_name = "accuracy"

    program, _ = trained()
    with pytest.raises(TransportError, match=r"Local cannot be sent.*without workers"):
        make_judge(program, Local()).pack()
