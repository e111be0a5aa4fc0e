"""lower(program, plan)(x) == masked(program, plan)(x), on every block and on random networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressc.coupling.graph import cost_of, couple
from compressc.frontend.tracing import capture
from compressc.lowering.lowered import lower
from compressc.models.registry import architectures, build
from compressc.plan import Plan
from compressc.proof.equivalence import TOLERANCE, prove
from tests.oracle import check_theorem, fresh
from tests.plans import free_groups, random_plan, single_plans, smallest_plan
from tests.strategies import Recipe, every_block, networks

# Under a second each on an idle core; the others are marked slow.
SMALL_MODELS = ("digits_resnet", "lenet300_100", "lenet5", "se_resnet20", "shufflenet_v2_x1_0")


def _calibrated(model: torch.nn.Module) -> torch.nn.Module:
    """Give batch norms statistics and scales that hide nothing."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                if tensor is not None:
                    tensor.data.normal_(generator=generator)
            for tensor in (module.running_var, module.weight):
                if tensor is not None:
                    tensor.data.uniform_(0.5, 1.5, generator=generator)
    return model


@pytest.mark.parametrize(("name", "variant"), every_block())
def test_every_block_prunes_as_its_mask(name: str, variant: int) -> None:
    program = Recipe(((name, variant),)).capture()
    check_theorem(program, random_plan(couple(program), variant))
    if variant == 0:
        check_theorem(program, smallest_plan(couple(program)), informative=False)


@given(recipe=networks(), seed=st.integers(0, 1000))
def test_random_networks_prune_as_their_mask(recipe: Recipe, seed: int) -> None:
    program = recipe.capture()
    check_theorem(program, random_plan(couple(program), seed))


@pytest.mark.slow
@given(recipe=networks(6), seed=st.integers(0, 1000))
def test_deeper_networks_prune_as_their_mask(recipe: Recipe, seed: int) -> None:
    program = recipe.capture()
    check_theorem(program, random_plan(couple(program), seed))
    check_theorem(program, smallest_plan(couple(program), seed), informative=False)


@given(recipe=networks(2), seed=st.integers(0, 1000))
def test_a_lowered_network_is_pruned_again(recipe: Recipe, seed: int) -> None:
    program = recipe.capture()
    once = fresh(check_theorem(program, random_plan(couple(program), seed)))
    assert not once.plan
    check_theorem(once, random_plan(couple(once), seed + 1))


def test_each_group_alone() -> None:
    recipe = Recipe((("shuffle", 0), ("grouped", 2), ("pad_shortcut", 2)), "flattened", "cat")
    program = recipe.capture()
    plans = list(single_plans(couple(program)))
    assert len(plans) >= 8
    for plan in plans:
        check_theorem(program, plan)


def test_a_plan_that_removes_nothing_changes_nothing() -> None:
    program = Recipe((("residual", 0), ("attention", 0))).capture()
    for plan in (
        Plan(),
        Plan(keep={g.name: np.ones(g.size, dtype=bool) for g in couple(program).groups}),
    ):
        lowered = lower(program.with_plan(plan))
        x = torch.randn(3, 3, 8, 8)
        torch.testing.assert_close(lowered.graph_module(x), program.graph_module(x), rtol=0, atol=0)
        assert cost_of(lowered) == cost_of(program)


def test_strict_statistics_keep_every_normalised_channel() -> None:
    recipe = Recipe((("mlp", 0), ("norm", 1), ("response_norm", 0), ("spatial_attention", 0)))
    program = recipe.capture()
    free = {group.name for group in free_groups(couple(program))}
    strict = program.with_constraints(type(program.constraints)(statistics="frozen"))
    pinned = {g.name: g.pinned for g in couple(strict).groups if g.pinned and g.name in free}
    assert any("strict mode" in reason for reason in pinned.values())
    assert not couple(strict).propagation.records.statistics
    assert "blocks.0.up" in {group.name for group in free_groups(couple(strict))}
    check_theorem(strict, random_plan(couple(strict), 0))


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_small_models(name: str) -> None:
    _prune_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(architectures()) - set(SMALL_MODELS)))
def test_all_models(name: str) -> None:
    _prune_model(name)


def _prune_model(name: str) -> None:
    model = _calibrated(build(name))
    # Images of ImageNet size only make it slower: these networks pool globally.
    channels, height, width = architectures()[name].input_shape
    shape = (channels, min(height, 64), min(width, 64))
    program = capture(model, (torch.randn(2, *shape),))
    chosen = program.with_plan(random_plan(couple(program), 0))
    lowered = check_theorem(program, chosen.plan)
    assert cost_of(lowered).macs < 0.9 * cost_of(program).macs
    verdict = prove(chosen, lower(chosen))
    assert verdict.passed
    assert verdict.tolerance == TOLERANCE
