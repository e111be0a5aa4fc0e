"""The masked model, held against references that share no code with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressc.channels.axes import exactly, size_of, spread
from compressc.coupling.graph import couple
from compressc.frontend.tracing import capture
from compressc.graphs.trainable import clone_module
from compressc.lowering.lowered import lower
from compressc.plan import Plan
from compressc.proof.equivalence import compare_modules
from compressc.proof.masking import masked
from compressc.proof.randomization import randomized
from compressc.rules.propagation import named_tensors
from compressc.rules.registry import RULES
from compressc.rules.site import Site
from tests.oracle import disturb, fresh, inputs_for, original_state, silence, strays
from tests.plans import free_groups, random_plan, single_plans
from tests.strategies import Recipe

aten = torch.ops.aten

# No statistics over channels and no product of two activations: removing a channel is the same as
# zeroing the weights that read it.
LINEAR_READERS = (
    (("residual", 1), ("projection", 0), ("dense", 0)),
    (("split", 1), ("shuffle", 0), ("grouped", 2)),
    (("depthwise", 1), ("squeeze_excite", 1), ("pad_shortcut", 2)),
    (("selective", 1), ("hierarchy", 0), ("ghost", 0)),
    (("pixel_shuffle", 0), ("transposed", 0), ("multi_scale", 0)),
    (("inception", 0), ("slice", 1), ("reorder", 0)),
    (("constants", 2), ("affine", 2), ("tied", 0)),
    (("sequence_conv", 1), ("batched_channels", 0), ("gate", 1)),
)


@pytest.mark.parametrize("blocks", LINEAR_READERS, ids=lambda b: "+".join(name for name, _ in b))
def test_masking_is_zeroing_what_reads_the_removed_channels(
    blocks: tuple[tuple[str, int], ...],
) -> None:
    recipe = Recipe(blocks, "flattened")
    program = randomized(recipe.capture())
    plan = random_plan(couple(program), 0)
    original = recipe.build().double()
    original.load_state_dict(original_state(program, original))
    silence(original, couple(program), plan)
    inputs = inputs_for(program, 4, 0)
    verdict = compare_modules(masked(program.with_plan(plan)), original, inputs)
    assert verdict.passed, verdict
    # And what the removed channels would have computed is nobody's business.
    disturb(original, couple(program), plan)
    verdict = compare_modules(masked(program.with_plan(plan)), original, inputs)
    assert verdict.passed, verdict


@pytest.mark.parametrize("blocks", LINEAR_READERS, ids=lambda b: "+".join(name for name, _ in b))
def test_a_removed_channel_moves_nothing_but_itself(blocks: tuple[tuple[str, int], ...]) -> None:
    program = Recipe(blocks).capture()
    assert strays(program, random_plan(couple(program), 0)) == []


@pytest.mark.parametrize("blocks", LINEAR_READERS[:4], ids=lambda b: b[0][0])
def test_every_unit_that_may_leave_moves_an_output(blocks: tuple[tuple[str, int], ...]) -> None:
    program = randomized(Recipe(blocks).capture())
    inputs = inputs_for(program, 3, 0)
    with torch.no_grad():
        base = program.graph_module(*inputs)
        for plan in single_plans(couple(program)):
            moved = disturb(clone_module(program.graph_module), couple(program), plan)
            assert (moved(*inputs) - base).abs().max() > 1e-6, f"{list(plan.keep)} reaches nothing"


def _sum_not_coupled(patch: pytest.MonkeyPatch) -> None:
    for target in (aten.add.Tensor, aten.add_.Tensor):
        patch.setitem(RULES, target, lambda site: site.axes("self"))


def _halves_not_joined(patch: pytest.MonkeyPatch) -> None:
    def first_half(site: Site) -> object:
        x = site.axes("self")
        return (x[0], exactly(spread(x[1], 0)[: size_of(x[1]) // 2]), *x[2:])

    patch.setitem(RULES, aten.glu.default, first_half)


def _parts_swapped(patch: pytest.MonkeyPatch) -> None:
    original = RULES[aten.split_with_sizes.default]

    def swapped(site: object) -> object:
        pieces = original(site)  # type: ignore[arg-type]
        return [*pieces[1:], pieces[0]] if isinstance(pieces, list) else pieces

    for target in (aten.split_with_sizes.default, aten.split.Tensor, aten.chunk.default):
        patch.setitem(RULES, target, swapped)


@pytest.mark.parametrize(
    ("blocks", "plant"),
    [
        ((("residual", 0),), _sum_not_coupled),
        ((("gate", 0),), _halves_not_joined),
        ((("hierarchy", 0),), _parts_swapped),
    ],
    ids=["sum", "gate", "split"],
)
def test_the_second_oracle_sees_wrong_couplings(
    blocks: tuple[tuple[str, int], ...],
    plant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = Recipe(blocks).capture()
    assert strays(program, random_plan(couple(program), 1)) == []
    plant(monkeypatch)
    broken = fresh(program)
    assert strays(broken, random_plan(couple(broken), 1)) != []


class Statistics(nn.Module):
    """One layer makes twelve channels, one statistic is taken over them, one layer reads them."""

    def __init__(self, statistic: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make, self.read = nn.Linear(5, 12), nn.Linear(12, 4)
        self.statistic = statistic

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.statistic(self.make(x)))


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda h: F.layer_norm(h, (h.shape[-1],)),
    "rms_norm": lambda h: F.rms_norm(h, (h.shape[-1],)),
    "group_norm": lambda h: F.group_norm(h, 1),
    "mean": lambda h: h - h.mean(-1, keepdim=True),
    "amax": lambda h: h / (1 + h.amax(-1, keepdim=True).exp()),
    "var_mean": lambda h: (
        (h - torch.var_mean(h, -1, correction=0, keepdim=True)[1])
        * torch.var_mean(h, -1, correction=0, keepdim=True)[0]
    ),
    "two in a row": lambda h: F.layer_norm(h.tanh(), (h.shape[-1],)) - h.mean(-1, keepdim=True),
    "norm of a norm": lambda h: F.layer_norm(F.layer_norm(h, (h.shape[-1],)).exp(), (h.shape[-1],)),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_run_over_the_kept_channels(name: str) -> None:
    model = Statistics(STATISTICS[name]).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    program = capture(model, (x,))
    group = next(g for g in free_groups(couple(program)) if g.name == "make")
    keep = np.random.default_rng(0).permutation(12) < 7
    plan = Plan(keep={group.name: keep})
    with torch.no_grad():
        hidden = model.make(x)[:, torch.as_tensor(keep)]
        expected = F.linear(
            STATISTICS[name](hidden), model.read.weight[:, torch.as_tensor(keep)], model.read.bias
        )
        found = masked(program.with_plan(plan))(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_group_norm_blocks_stay_blocks() -> None:
    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make, self.norm = nn.Conv2d(3, 12, 1), nn.GroupNorm(3, 12)
            self.read = nn.Conv2d(12, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.norm(self.make(x)))

    model = Blocks().double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    program = capture(model, (x,))
    group = next(g for g in free_groups(couple(program)) if g.name == "make")
    keep = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0], dtype=bool)
    chosen = program.with_plan(Plan(keep={group.name: keep}))
    with torch.no_grad():
        blocks = model.make(x).split(4, 1)
        normed = torch.cat(
            [F.group_norm(block[:, keep[4 * i : 4 * i + 4]], 1) for i, block in enumerate(blocks)],
            1,
        )
        expected = F.conv2d(normed, model.read.weight[:, keep], model.read.bias)
    torch.testing.assert_close(masked(chosen)(x), expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(lower(chosen).graph_module(x), expected, rtol=1e-9, atol=1e-11)


def test_heads_shrink_by_position_and_scores_keep_their_scale() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(6, 8, bias=False), nn.Linear(6, 8, bias=False)
            self.value = nn.Linear(6, 8, bias=False)

        def heads(self, x: Tensor) -> Tensor:
            return x.view(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(
                self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
            )

    model = Heads().double()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    program = capture(model, (x,))
    group = next(g for g in free_groups(couple(program)) if g.name == "query")
    assert group.size == 4
    keep = np.array([True, False, True, True])
    with torch.no_grad():
        for layer in (model.query, model.key):
            layer.weight[[1, 5]] = 0.0
        expected = model(x)
    chosen = program.with_plan(Plan(keep={group.name: keep}))
    torch.testing.assert_close(masked(chosen)(x), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(lower(chosen).graph_module(x), expected, rtol=1e-10, atol=1e-12)


def test_masks_share_weights_and_change_none() -> None:
    program = Recipe((("residual", 0), ("mlp", 0))).capture()
    before = {name: value.clone() for name, value in program.state().items()}
    module = masked(program.with_plan(random_plan(couple(program), 0)))
    module(*program.example_inputs)
    mine = named_tensors(module)
    for name, value in program.state().items():
        assert mine[name] is named_tensors(program.graph_module)[name]
        assert torch.equal(value, before[name])


def test_an_empty_plan_masks_nothing() -> None:
    program = Recipe((("attention", 0), ("norm", 0))).capture()
    inputs = program.example_inputs
    assert torch.equal(masked(program)(*inputs), program.graph_module(*inputs))


def test_zeros_are_products_and_the_weights_stay() -> None:
    program = Recipe((("conv", 0),)).capture()
    name = "blocks.0.conv.weight"
    mask = np.random.default_rng(0).random(tuple(program.state()[name].shape)) < 0.3
    module = masked(program.with_plan(Plan(zero={name: mask})))
    assert (
        dict(module.named_parameters())[name] is dict(program.graph_module.named_parameters())[name]
    )
    assert bool((program.state()[name] != 0).all())
    written = clone_module(program.graph_module)
    with torch.no_grad():
        written.get_parameter(name).mul_(torch.as_tensor(mask))
    x = program.example_inputs[0]
    torch.testing.assert_close(module(x), written(x))
    assert not torch.allclose(module(x), program.graph_module(x), atol=1e-3)
