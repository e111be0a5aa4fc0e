"""Residual blocks as decisions: how they are recognised, masks, lowering, price, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.choices.blocks import LEFT_OUT, STAYS, Block
from compressc.choices.branches import Branches
from compressc.coupling.graph import Coupling, cost_of, couple
from compressc.errors import PlanError
from compressc.lowering import plan_application
from compressc.lowering.constant_values import find_constants
from compressc.models.registry import build
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.proof import masking
from tests.oracle import check_theorem
from tests.plans import random_plan, with_random_zeros

SKIPS = ("identity", "projection", "padding", "pre-activation", "in place", "nested")


class ResidualBlock(nn.Module):
    """A block whose skip is of a given kind."""

    def __init__(self, kind: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kind, self.inputs = kind, inputs
        self.a, self.b = nn.Conv2d(inputs, 5, 3, padding=1), nn.Conv2d(5, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.before = nn.BatchNorm2d(inputs)
        if kind == "projection":
            self.project, self.project_norm = nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs)
        if kind == "nested":
            self.c = nn.Conv2d(5, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "pre-activation":
            return x + self.b(F.relu(self.a(F.relu(self.before(x)))))
        hidden = F.relu(self.a(x))
        if self.kind == "nested":
            hidden = hidden + F.gelu(self.c(hidden))
        y = self.norm(self.b(hidden))
        if self.kind == "projection":
            x = self.project_norm(self.project(x))
        if self.kind == "padding":
            x = F.pad(x, (0, 0, 0, 0, 1, y.shape[1] - self.inputs - 1))
        if self.kind == "in place":
            y += x
            return F.relu(y, inplace=True)
        return F.relu(x + y)


class Residual(nn.Module):
    """A stem, blocks of random kinds, a head."""

    def __init__(self, seed: int, kinds: tuple[str, ...] = ()) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        kinds = kinds or tuple(rng.permutation(SKIPS)[:4])
        widths = [6]
        for kind in kinds:
            grows = kind in ("projection", "padding")
            widths.append(widths[-1] + (int(rng.integers(2, 4)) if grows else 0))
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(str(kind), a, b)
            for kind, a, b in zip(kinds, widths, widths[1:], strict=False)
        )
        self.head = nn.Linear(widths[-1], 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(F.gelu(x).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer that reads a mask in every block."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.embed, self.places = nn.Linear(4, 8), nn.Parameter(torch.randn(1, 6, 8))
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.encoder(self.embed(x) + self.places, src_key_padding_mask=mask)
        return self.head(x.mean(1))


def captured(seed: int, kinds: tuple[str, ...] = ()) -> Program:
    torch.manual_seed(seed)
    return compressc.capture(Residual(seed, kinds).eval(), (torch.randn(2, 3, 8, 8),))


def encoder(norm_first: bool = True) -> Program:
    torch.manual_seed(0)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[:, 4:] = True
    return compressc.capture(Encoder(norm_first).eval(), (torch.randn(2, 6, 4), mask))


def blocks_of(program: Program) -> tuple[Block, ...]:
    return couple(program).branches.blocks


def random_drops(program: Program, seed: int) -> dict[str, int]:
    rng = np.random.default_rng(seed)
    return {block.name: int(rng.integers(2)) for block in blocks_of(program) if rng.random() < 0.8}


@pytest.mark.parametrize("kind", SKIPS)
def test_every_kind_of_skip_is_a_block(kind: str) -> None:
    blocks = blocks_of(captured(0, (kind, kind)))
    assert [block.name for block in blocks if "c" not in block.name.split(".")] == [
        "blocks.0",
        "blocks.1",
    ]
    inner = [block.name for block in blocks if block.name.endswith(".c")]
    assert inner == (["blocks.0.c", "blocks.1.c"] if kind == "nested" else [])


def test_our_residual_networks_have_their_blocks() -> None:
    for name, count, shape in (("resnet20", 9, (3, 32, 32)), ("mobilenet_v2", 10, (3, 32, 32))):
        program = compressc.capture(build(name).eval(), (torch.randn(2, *shape),))
        assert len(blocks_of(program)) == count
    assert blocks_of(program)[0].name == "features.3.conv"


@pytest.mark.parametrize("norm_first", [False, True])
def test_both_halves_of_a_transformer_layer_are_blocks(norm_first: bool) -> None:
    names = [block.name for block in blocks_of(encoder(norm_first))]
    assert names == [
        f"encoder.layers.{layer}{part}" for layer in (0, 1) for part in (".self_attn", "")
    ]


def test_what_is_read_elsewhere_or_carries_nothing_is_no_block() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(4, 4, 1) for _ in range(3))
            self.d, self.e = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.table = nn.Parameter(torch.randn(1, 4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            inner = torch.relu(self.b(x))
            y = x + self.c(inner)
            # Two values that are both worked on: neither is a skip.
            z = torch.tanh(self.d(torch.relu(self.d(y)))) + self.e(torch.relu(self.e(y)))
            return torch.cat([z + self.table, inner], 1).mean((2, 3))

    program = compressc.capture(Net().eval(), (torch.randn(2, 4, 4, 4),))
    assert blocks_of(program) == ()


@pytest.mark.parametrize("seed", range(10))
def test_depth_and_channels_prune_as_their_mask(seed: int) -> None:
    program = captured(seed)
    plan = random_plan(couple(program), seed).with_choice(random_drops(program, seed))
    check_theorem(program, plan)


@pytest.mark.parametrize("seed", range(6))
def test_depth_channels_and_zeros_together(seed: int) -> None:
    program = captured(20 + seed)
    plan = with_random_zeros(random_plan(couple(program), seed), couple(program), seed)
    check_theorem(program, plan.with_choice(random_drops(program, seed)), informative=False)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_loses_attention_and_layers(norm_first: bool) -> None:
    program = encoder(norm_first)
    for seed in range(3):
        plan = random_plan(couple(program), seed)
        check_theorem(program, plan.with_choice(random_drops(program, seed)), informative=False)
    everything = dict.fromkeys((block.name for block in blocks_of(program)), LEFT_OUT)
    lowered = check_theorem(program, Plan(choice=everything), informative=False)
    assert not any("encoder" in name and "norm" not in name for name in lowered.state())


def test_a_foreign_network_becomes_shorter_and_exports() -> None:
    torch.manual_seed(0)
    program = compressc.capture(build("resnet50").eval(), (torch.randn(2, 3, 64, 64),))
    names = [block.name for block in blocks_of(program)]
    assert len(names) == 16
    choice = dict.fromkeys(("layer1.1", "layer2.0", "layer3.4", "layer4.2"), LEFT_OUT)
    lowered = check_theorem(program, Plan(choice=choice))
    assert [block.name for block in blocks_of(lowered)] == [n for n in names if n not in choice]
    assert not any(name.startswith(("layer1.1.", "layer3.4.")) for name in lowered.state())
    # The projection carries the value where the block was.
    assert "layer2.0.downsample.0.weight" in lowered.state()
    assert "layer2.0.conv2.weight" not in lowered.state()


def test_until_it_is_decided_a_block_is_what_it_was() -> None:
    program = captured(0)
    x = torch.randn(3, 3, 8, 8)
    stays = Plan(choice={block.name: STAYS for block in blocks_of(program)})
    lowered = compressc.lower(program.with_plan(stays))
    torch.testing.assert_close(lowered.graph_module(x), program.graph_module(x))
    assert cost_of(lowered) == cost_of(program)


def test_a_block_that_is_left_out_costs_nothing() -> None:
    program = captured(0, ("identity", "identity"))
    plan = Plan(choice={"blocks.0": LEFT_OUT})
    lowered = compressc.lower(program.with_plan(plan))
    assert couple(program).cost(plan) == cost_of(lowered)
    assert cost_of(lowered).macs < cost_of(program).macs
    assert not any(name.startswith("blocks.0.") for name in lowered.state())
    assert couple(program).layers(plan) == couple(lowered).layers(Plan())


def test_a_block_with_a_kept_layer_stays() -> None:
    program = captured(0, ("identity", "identity"))
    program = program.with_constraints(Constraints(keep=("blocks.0.a",)))
    first, second = blocks_of(program)
    assert first.pinned == "kept by --keep blocks.0.a"
    assert second.pinned is None
    planned = program.with_plan(Plan(choice={"blocks.0": LEFT_OUT}))
    for use in (compressc.lower, compressc.masked):
        with pytest.raises(PlanError, match=r"block 'blocks.0' cannot be left out: kept by"):
            use(planned)


def test_a_decision_that_does_not_fit_is_a_line() -> None:
    program = captured(0, ("identity",))
    for choice, text in (
        ({"blocks.7": 0}, "no architecture node or block of that name"),
        ({"blocks.0": 2}, "but it has 2 candidates: 0 to 1"),
    ):
        with pytest.raises(PlanError, match=text):
            compressc.lower(program.with_plan(Plan(choice=choice)))


def test_no_activation_is_left_over_where_a_block_was() -> None:
    program = compressc.capture(build("resnet20").eval(), (torch.randn(2, 3, 32, 32),))
    choice = dict.fromkeys(("layer1.1", "layer1.2", "layer3.1"), LEFT_OUT)
    lowered = compressc.lower(program.with_plan(Plan(choice=choice)))
    kinds = [node.op_type for node in export_onnx(lowered).graph.node]
    assert (kinds.count("Conv"), kinds.count("Relu"), kinds.count("Add")) == (13, 13, 6)


def test_constants_behind_a_block_that_left_are_those_beside_it() -> None:
    program = captured(0, ("identity",))
    with torch.no_grad():
        # A channel that is 0.5 in front of the block, and to which the block adds 0.25.
        state = program.state()
        state["stem.weight"][0] = 0.0
        state["stem.bias"][0] = 0.5
        state["blocks.0.norm.weight"][0] = 0.0
        state["blocks.0.norm.bias"][0] = 0.25
    node = blocks_of(program)[0].sum
    for choice, expected in (({}, 0.75), ({"blocks.0": LEFT_OUT}, 0.5)):
        values = find_constants(program.with_plan(Plan(choice=choice))).of(node, 1)
        assert values is not None
        assert values[0] == pytest.approx(expected)


# Planted faults: the theorem must notice each of them.
Patch = pytest.MonkeyPatch


def lowering_keeps_the_branch_instead_of_the_skip(patch: Patch) -> None:
    original = plan_application.drop_branches

    def wrong(module: Any, branches: Branches, choice: Any) -> None:
        blocks = tuple(replace(b, skip=b.branch, branch=b.skip) for b in branches.blocks)
        original(module, replace(branches, blocks=blocks), choice)

    patch.setattr(plan_application, "drop_branches", wrong)


def lowering_leaves_blocks_in(patch: Patch) -> None:
    original = plan_application.drop_branches
    patch.setattr(
        plan_application,
        "drop_branches",
        lambda module, branches, choice: original(module, replace(branches, blocks=()), choice),
    )


def lowering_drops_the_next_block(patch: Patch) -> None:
    original = plan_application.drop_branches

    def wrong(module: Any, branches: Branches, choice: Any) -> None:
        names = [block.name for block in branches.blocks]
        moved = {names[(names.index(name) + 1) % len(names)]: i for name, i in choice.items()}
        original(module, branches, moved)

    patch.setattr(plan_application, "drop_branches", wrong)


def masks_forget_a_block(patch: Patch) -> None:
    original = masking.silence_branches
    patch.setattr(
        masking,
        "silence_branches",
        lambda module, blocks: original(module, tuple(blocks)[1:]),
    )


def masks_silence_the_skip(patch: Patch) -> None:
    original = masking.silence_branches

    def wrong(module: Any, blocks: Any) -> None:
        original(module, [replace(block, branch=block.skip) for block in blocks])

    patch.setattr(masking, "silence_branches", wrong)


def the_price_forgets_that_blocks_leave(patch: Patch) -> None:
    patch.setattr(
        Coupling, "living_tensors", lambda self, choice: frozenset(self.propagation.tensors)
    )


def widths_at_the_sum_are_not_coupled(patch: Patch) -> None:
    original = masking._Masking._silence
    patch.setattr(
        masking._Masking,
        "_silence",
        lambda self, node: None if node.name.startswith("linear") else original(self, node),
    )


FAULTS = (
    lowering_keeps_the_branch_instead_of_the_skip,
    lowering_leaves_blocks_in,
    lowering_drops_the_next_block,
    masks_forget_a_block,
    masks_silence_the_skip,
    the_price_forgets_that_blocks_leave,
    widths_at_the_sum_are_not_coupled,
)


def _theorem_holds() -> None:
    for seed in range(3):
        program = captured(seed, ("projection", "identity", "padding"))
        plan = random_plan(couple(program), seed)
        left_out = {f"blocks.{seed}": LEFT_OUT}
        check_theorem(program, plan.with_choice(left_out))


def test_the_theorem_holds_without_faults() -> None:
    _theorem_holds()


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_noticed(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError, KeyError)):
        _theorem_holds()
