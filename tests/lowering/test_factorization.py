"""Factorised layers: equal to the masked model, priced exactly, and still a normal Program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.coupling.graph import cost_of, couple
from compressc.errors import PlanError
from compressc.frontend.handover import load
from compressc.frontend.tracing import capture
from compressc.graphs.trainable import clone_module
from compressc.lowering.factorization import factorize_layers
from compressc.lowering.lowered import lower
from compressc.parity.onnx_parity import compare
from compressc.plan import Plan
from compressc.program import Program
from compressc.proof.equivalence import prove
from compressc.proof.masking import masked
from compressc.runtime.onnx_cost import count_cost
from tests.oracle import check_costs, check_theorem, digest, fresh
from tests.plans import free_groups, random_plan


class Net(nn.Module):
    """Every kind of layer that can be factorised."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(24, 16, 5, padding=3, dilation=2, bias=False)
        self.point = nn.Conv2d(16, 20, 1, stride=2, padding=1)
        self.same = nn.Conv2d(20, 18, 3, padding="same")
        self.tokens, self.line = nn.Linear(18, 16), nn.Conv1d(16, 14, 3, padding=1)
        self.fc = nn.Linear(14, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.wide(torch.relu(self.b(torch.relu(self.a(x))))))
        x = torch.relu(self.same(torch.relu(self.point(x))))
        x = torch.relu(self.tokens(x.flatten(2).transpose(1, 2)))
        return self.fc(torch.relu(self.line(x.transpose(1, 2))).transpose(1, 2))


RANKS = {
    "a": (4, 2),
    "b": (8, 8),
    "wide": (6, 7),
    "point": (4,),
    "same": (5, 6),
    "tokens": (3,),
    "line": (4, 5),
    "fc": (4,),
}
FULL = {
    "a": (16, 3),
    "b": (24, 16),
    "wide": (16, 24),
    "point": (16,),
    "same": (18, 20),
    "tokens": (16,),
    "line": (14, 16),
    "fc": (8,),
}
X = (torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0)),)


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Net(), X)


@pytest.fixture(scope="module")
def ranked(program: Program) -> Program:
    return program.with_plan(Plan(rank=RANKS))


@pytest.mark.parametrize("layer", sorted(FULL))
def test_full_rank_changes_nothing(layer: str) -> None:
    torch.manual_seed(0)
    program = capture(Net().double(), (X[0].double(),))
    module = clone_module(program.graph_module)
    factorize_layers(module, couple(program), {layer: FULL[layer]})
    module.recompile()
    expected = program.graph_module(X[0].double())
    torch.testing.assert_close(module(X[0].double()), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", sorted(RANKS))
def test_each_layer_is_its_mask(program: Program, layer: str) -> None:
    lowered = check_theorem(program, Plan(rank={layer: RANKS[layer]}))
    parts = ("reduce", "expand") if len(RANKS[layer]) == 1 else ("reduce", "core", "expand")
    state = lowered.state()
    assert [f"{layer}.{part}.weight" in state for part in parts] == [True] * len(parts)
    assert f"{layer}.weight" not in state
    assert f"{layer}.bias" not in state
    assert (f"{layer}.expand.bias" in state) == (f"{layer}.bias" in program.state())


def test_weights_of_low_rank_lose_nothing() -> None:
    torch.manual_seed(0)
    model = Net().double()
    with torch.no_grad():
        for name, ranks in RANKS.items():
            weight = model.get_submodule(name).weight
            left = torch.randn(len(weight), ranks[0]).double()
            core = torch.randn(ranks[0], ranks[-1], *weight.shape[2:]).double()
            right = torch.randn(ranks[-1], weight.shape[1]).double()
            weight.copy_(torch.einsum("or,rs...,si->oi...", left, core, right) / 10)
    program = capture(model, (X[0].double(),))
    lowered = lower(program.with_plan(Plan(rank=RANKS)))
    expected = program.graph_module(X[0].double())
    assert cost_of(lowered).macs < cost_of(program).macs / 2
    torch.testing.assert_close(
        lowered.graph_module(X[0].double()), expected, rtol=1e-10, atol=1e-10
    )


def test_costs_are_predicted_exactly(program: Program, ranked: Program) -> None:
    lowered = lower(ranked)
    check_costs(ranked, lowered)
    assert cost_of(ranked) == cost_of(fresh(lowered))
    assert cost_of(ranked).macs < cost_of(program).macs
    rows = couple(ranked).layers(ranked.plan)
    assert [row.name for row in rows] == [row.name for row in couple(program).layers(Plan())]
    assert sum(row.macs for row in rows) == cost_of(ranked).macs


@pytest.mark.parametrize("seed", range(4))
def test_pruned_layers_are_factorised(program: Program, seed: int) -> None:
    coupling = couple(program)
    plan = coupling.fit_ranks(random_plan(coupling, seed).with_rank(RANKS))
    assert len(plan.rank) >= 3
    check_theorem(program, plan)
    rows = coupling.layers(plan)
    assert sum(row.macs for row in rows) == coupling.cost(plan).macs


@pytest.mark.parametrize("seed", range(3))
def test_factorised_layers_are_pruned(program: Program, ranked: Program, seed: int) -> None:
    once = fresh(lower(ranked))
    free = {group.name for group in free_groups(couple(once))}
    # The channels between layers as before, and the ranks besides.
    assert {group.name.partition(".")[0] for group in free_groups(couple(program))} <= {
        name.partition(".")[0] for name in free
    }
    assert {"a.reduce", "a.core", "point.reduce", "fc.reduce"} <= free
    check_theorem(once, random_plan(couple(once), seed))


def test_factorised_layers_are_factorised_again(ranked: Program) -> None:
    once = fresh(lower(ranked))
    again = check_theorem(once, Plan(rank={"b.core": (4, 4)}))
    assert "b.core.core.weight" in again.state()


def test_the_proof_holds_in_the_type_of_the_model(ranked: Program) -> None:
    before = digest(ranked)
    verdict = prove(ranked, lower(ranked))
    assert verdict.passed
    assert verdict.informative
    assert digest(ranked) == before


class Mixer(nn.Module):
    """A layer over tokens, whose leading axis holds channels that leave."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.mix, self.back = nn.Linear(6, 12), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.up(x)).transpose(1, 2)
        return self.head(self.back(torch.relu(self.mix(x))).transpose(1, 2))


def test_leading_channels_may_leave() -> None:
    torch.manual_seed(0)
    program = capture(Mixer(), (torch.randn(3, 16, 6),))
    site = couple(program).factor_sites.site("mix")
    assert len(site.lead) == 1
    group = next(g for g in free_groups(couple(program)) if g.name == "up")
    plan = Plan(keep={"up": np.arange(group.size) < 5}, rank={"mix": (3,), "back": (4,)})
    check_theorem(program, plan)
    assert sum(r.macs for r in couple(program).layers(plan)) == couple(program).cost(plan).macs


def test_weights_of_the_model_itself_and_shared_biases() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(9, 8)), nn.Parameter(torch.randn(9))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(nn.functional.linear(x, self.weight, self.bias)) * self.bias

    program = capture(Bare(), (torch.randn(3, 8),))
    lowered = check_theorem(program, Plan(rank={"weight": (2,)}))
    assert set(lowered.state()) == {"weight.reduce.weight", "weight.expand.weight", "bias"}


def test_the_parts_carry_names_and_train(ranked: Program) -> None:
    lowered = lower(ranked)
    scopes = [
        list(node.meta["nn_module_stack"].values())[-1][0]
        for node in lowered.graph_module.graph.nodes
        if node.op == "call_function" and "nn_module_stack" in node.meta
    ]
    assert {"b.reduce", "b.core", "b.expand", "fc.reduce", "fc.expand"} <= set(scopes)
    module = lowered.module().train()
    module(*X).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def test_the_result_is_saved_and_loaded(ranked: Program, tmp_path: Path) -> None:
    lowered = lower(ranked)
    compressc.save(lowered, tmp_path / "small.pt2")
    again = load(tmp_path / "small.pt2")
    assert cost_of(again) == cost_of(lowered)
    assert set(again.state()) == set(lowered.state())
    torch.testing.assert_close(again.graph_module(*X), lowered.graph_module(*X))
    check_theorem(again, random_plan(couple(again), 0))


def test_the_onnx_file_computes_the_same(ranked: Program) -> None:
    lowered = lower(ranked)
    model = export_onnx(lowered)
    parity = compare(
        lowered.module().eval(), model, X, batches=(1, 3), dynamic_axes=lowered.dynamic_axes
    )
    assert parity.passed
    assert count_cost(model, 1).macs == cost_of(lowered).macs
    names = {node.name.rpartition("/")[0] for node in model.graph.node}
    assert {"b.reduce", "b.core", "b.expand"} <= names


def _tampered(program: Program, fault: str) -> Program:
    module = clone_module(program.graph_module)
    nodes = {node.name: node for node in module.graph.nodes}
    state = dict(module.named_parameters())
    with torch.no_grad():
        if fault == "transposed factor":
            state["b.core.weight"].copy_(state["b.core.weight"].transpose(0, 1).clone())
        elif fault == "stride on the wrong node":
            core = next(n for n in nodes.values() if n.name.endswith("_core") and 8 in _in(n))
            reduce = core.args[0]
            reduce.args = (*reduce.args[:2], None, core.args[3])
            core.update_arg(3, [1, 1])
        elif fault == "bias twice":
            last = next(n for n in reversed(module.graph.nodes) if n.op == "call_function")
            with module.graph.inserting_after(last):
                added = module.graph.call_function(torch.ops.aten.add.Tensor, (last, last.args[2]))
            last.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
    module.recompile()
    return replace(program, graph_module=module)


def _in(node: torch.fx.Node) -> tuple[int, ...]:
    """Return the channels of a factor's core: only layer b has eight."""
    return tuple(node.args[1].meta["val"].shape[:2])


@pytest.mark.parametrize("fault", ["transposed factor", "stride on the wrong node", "bias twice"])
def test_planted_faults_are_found(ranked: Program, fault: str) -> None:
    lowered = lower(ranked)
    assert prove(ranked, _tampered(lowered, "none")).passed
    assert not prove(ranked, _tampered(lowered, fault)).passed


def test_the_masked_model_is_of_full_size(program: Program) -> None:
    keep = {g.name: np.arange(g.size) < g.size - 2 for g in free_groups(couple(program))}
    chosen = program.with_plan(Plan(keep=keep, rank={"b": (5, 4)}))
    reference = masked(chosen)
    shapes = {n: tuple(t.shape) for n, t in reference.named_parameters()}
    assert shapes["_factor_0_0"] == (24, 5)
    assert shapes["_factor_0_2"] == (4, 16)
    assert "b.weight" not in {str(n.target) for n in reference.graph.nodes if len(n.users)}


class Refused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depth, self.part = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2)
        self.up = nn.ConvTranspose2d(8, 8, 3)
        self.twice, self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight
        self.taken = nn.Linear(8, 8)
        self.taken.reduce = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.part(self.depth(x))).mean((2, 3))
        x = self.twice(torch.relu(self.twice(x)))
        return self.taken.reduce(self.taken(self.other(torch.relu(self.one(x)))))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("depth", "8 conv groups"),
        ("part", "2 conv groups"),
        ("up", "is a conv_transpose2d"),
        ("twice", "used more than once"),
        ("one", "shares its weight"),
        ("taken", "already has a part called 'reduce'"),
        ("nobody", "no layer of this name"),
    ],
)
def test_layers_that_cannot_be_factorised_say_why(layer: str, reason: str) -> None:
    program = capture(Refused(), (torch.randn(2, 8, 9, 9),))
    with pytest.raises(PlanError, match=f"'{layer}'.*({reason})"):
        couple(program).check(Plan(rank={layer: (2,)}))


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        ({"b": (4,)}, r"takes \(r_out, r_in\)"),
        ({"fc": (2, 2)}, r"takes \(r,\)"),
        ({"b": (0, 4)}, "between 1 and"),
        ({"b": (25, 4)}, "between 1 and"),
        ({"fc": (9,)}, "between 1 and 8"),
        ({"fc": (6,)}, "MACs, the layer itself takes"),
        ({"b": (24, 16)}, "MACs, the layer itself takes"),
    ],
)
def test_ranks_that_do_not_fit_are_refused(
    program: Program, ranks: dict[str, tuple[int, ...]], reason: str
) -> None:
    with pytest.raises(PlanError, match=reason):
        couple(program).check(Plan(rank=ranks))
    with pytest.raises(PlanError, match=reason):
        lower(replace(program, plan=Plan(rank=ranks)))


def test_a_factorisation_is_never_dearer_than_the_layer(program: Program) -> None:
    coupling, full = couple(program), cost_of(program).macs
    for layer, (largest, *_) in FULL.items():
        modes = coupling.factor_sites.site(layer).modes
        for rank in range(1, largest + 1):
            plan = Plan(rank={layer: tuple(min(rank, f) for f in FULL[layer][:modes])})
            try:
                coupling.check(plan)
            except PlanError:
                assert coupling.cost(plan).macs >= full
            else:
                assert coupling.cost(plan).macs < full


def test_ranks_follow_the_channels_that_stay(program: Program) -> None:
    coupling = couple(program)
    keep = {"b": np.arange(24) < 4}
    with pytest.raises(PlanError, match=r"'b'.*channels that stay"):
        coupling.check(Plan(keep=keep, rank={"b": (8, 8)}))
    fitted = coupling.fit_ranks(Plan(keep=keep, rank={"b": (8, 3), "wide": (6, 7), "fc": (4,)}))
    assert fitted.rank == {"b": (4, 3), "fc": (4,)} | (
        {"wide": fitted.rank["wide"]} if "wide" in fitted.rank else {}
    )
    coupling.check(fitted)
    dropped = coupling.fit_ranks(Plan(keep={"b": np.arange(24) < 1}, rank={"b": (1, 8)}))
    assert dropped.rank == {}


def test_zeros_and_ranks_of_one_weight_exclude_each_other(program: Program) -> None:
    mask = np.ones((24, 16, 3, 3), dtype=bool)
    with pytest.raises(PlanError, match="'b' is to be factorised"):
        couple(program).check(Plan(zero={"b.weight": mask}, rank={"b": (4, 4)}))
