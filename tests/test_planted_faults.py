"""An oracle that cannot fail proves nothing: wrong rules, edits and slices must break the theorem.

Each fault is planted into one place of the compiler; the very function that the theorem tests use
must then fail on a network that it passed before. Faults that keep every shape are the dangerous
ones; they must be caught by the numbers (``AssertionError``), the others may crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from compressc.channels import edits
from compressc.channels.axes import IdSpace, concatenate, exactly
from compressc.coupling.graph import couple
from compressc.lowering import plan_application, slicing
from compressc.plan import Plan
from compressc.program import Program
from compressc.proof import masking
from compressc.rules import concatenation, convolution, recurrence, reshaping
from compressc.rules.records import EqualCount
from compressc.rules.registry import RULES
from compressc.rules.site import Site
from tests.oracle import check_theorem, fresh
from tests.plans import random_plan, with_random_zeros
from tests.strategies import Recipe

aten = torch.ops.aten
Patch = pytest.MonkeyPatch

SILENT = (AssertionError,)
ANY = (AssertionError, RuntimeError, IndexError)
DIFFERENT = "lowered is not masked"


@dataclass(frozen=True)
class Fault:
    """One wrong spot: the network that must notice, how to plant it, how it may show."""

    name: str
    blocks: tuple[tuple[str, int], ...]
    plant: Callable[[Patch], None]
    shows_as: tuple[type[BaseException], ...] = SILENT
    head: str = "pooled"
    message: str = DIFFERENT
    zeros: bool = False


def _skip_edit(edit: type[Any]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(edit, "apply", lambda *_: None)


def cat_in_another_order(patch: Patch) -> None:
    def backwards(space: IdSpace, parts: Any, where: str) -> Any:
        return concatenate(space, list(reversed(parts)), where)

    patch.setattr(concatenation, "concatenate", backwards)


def split_parts_swapped(patch: Patch) -> None:
    original = RULES[aten.chunk.default]

    def swapped(site: Site) -> Any:
        pieces = original(site)
        return list(reversed(pieces)) if isinstance(pieces, list) else pieces

    patch.setitem(RULES, aten.chunk.default, swapped)


def split_off_by_one(patch: Patch) -> None:
    original = edits.SetSplits.apply

    def shifted(self: Any, node: Any, kept: Any, module: Any) -> None:
        original(self, node, kept, module)
        if node.target is not aten.split_with_sizes.default:
            return
        sizes = list(node.args[1])
        sizes[0], sizes[1] = sizes[0] + 1, sizes[1] - 1
        node.update_arg(1, sizes)

    patch.setattr(edits.SetSplits, "apply", shifted)


def slice_starts_one_late(patch: Patch) -> None:
    original = edits.SetRange.apply

    def shifted(self: Any, node: Any, kept: Any, module: Any) -> None:
        original(self, node, kept, module)
        if node.args[2]:
            node.args = (*node.args[:2], node.args[2] - 1, node.args[3] - 1, *node.args[4:])

    patch.setattr(edits.SetRange, "apply", shifted)


def index_left_in_order(patch: Patch) -> None:
    original = edits.Reindex.apply

    def in_order(self: Any, node: Any, kept: Any, module: Any) -> None:
        everything = replace(self, index=np.sort(self.index))
        original(everything, node, kept, module)

    patch.setattr(edits.Reindex, "apply", in_order)


def pad_sides_swapped(patch: Patch) -> None:
    original = edits.SetPad.apply

    def swapped(self: Any, node: Any, kept: Any, module: Any) -> None:
        original(self, node, kept, module)
        amounts = list(node.args[1])
        amounts[-1], amounts[-2] = amounts[-2], amounts[-1]
        node.update_arg(1, amounts)

    patch.setattr(edits.SetPad, "apply", swapped)


def heads_in_another_layout(patch: Patch) -> None:
    def interleaved(site: Site, blocks: Any) -> Any:
        wrong = blocks.reshape(-1).reshape(blocks.shape[1], blocks.shape[0]).T
        for row in wrong[1:]:
            site.space.join(np.ascontiguousarray(wrong[0]), np.ascontiguousarray(row))
        return np.ascontiguousarray(wrong[0])

    patch.setattr(reshaping, "_join_rows", interleaved)


def heads_not_joined(patch: Patch) -> None:
    patch.setattr(reshaping, "_join_rows", lambda site, blocks: blocks[0].copy())


def pixel_shuffle_by_rows(patch: Patch) -> None:
    original = RULES[aten.pixel_shuffle.default]

    def by_rows(site: Site) -> Any:
        # The rule reads the channels as if those of one output lay far apart.
        source = site.arg("self")
        right = site.values[source.name]
        (factor,) = right[1]  # type: ignore[index]
        ids = factor.ids.reshape(4, -1).T.reshape(-1)
        site.values[source.name] = (right[0], exactly(ids), *right[2:])  # type: ignore[index,misc]
        try:
            return original(site)
        finally:
            site.values[source.name] = right

    patch.setitem(RULES, aten.pixel_shuffle.default, by_rows)


def flatten_backwards(patch: Patch) -> None:
    original = RULES[aten.flatten.using_ints]

    def backwards(site: Site) -> Any:
        axes = original(site)
        return tuple(tuple(reversed(axis)) for axis in axes)

    patch.setitem(RULES, aten.flatten.using_ints, backwards)


def grouped_columns_of_the_neighbour(patch: Patch) -> None:
    original = slicing._slice_grouped

    def rolled(weight: Any, grouped: Any, kept: Any) -> Any:
        columns = np.roll(grouped.columns, len(grouped.columns) // grouped.conv_groups)
        return original(weight, type(grouped)(**{**vars(grouped), "columns": columns}), kept)

    patch.setattr(slicing, "_slice_grouped", rolled)


def depthwise_multiplier_tiled(patch: Patch) -> None:
    class Tiling:
        """numpy, but for ``repeat``."""

        def __getattr__(self, name: str) -> Any:
            return np.tile if name == "repeat" else getattr(np, name)

    patch.setattr(convolution, "np", Tiling())


def gates_interleaved(patch: Patch) -> None:
    class Repeating:
        """numpy, but for ``tile``."""

        def __getattr__(self, name: str) -> Any:
            return np.repeat if name == "tile" else getattr(np, name)

    patch.setattr(recurrence, "np", Repeating())


def neighbours_as_gates(patch: Patch) -> None:
    def neighbours(site: Site) -> Any:
        x = site.axes("self")
        (factor,) = x[1]
        assert factor.ids is not None
        site.space.join(factor.ids[::2].copy(), factor.ids[1::2].copy())
        return (x[0], exactly(factor.ids[::2].copy()), *x[2:])

    patch.setitem(RULES, aten.glu.default, neighbours)


def unshuffled_backwards(patch: Patch) -> None:
    original = RULES[aten.pixel_unshuffle.default]

    def backwards(site: Site) -> Any:
        axes = original(site)
        return (*axes[:1], tuple(reversed(axes[1])), *axes[2:])

    patch.setitem(RULES, aten.pixel_unshuffle.default, backwards)


def _norm_reading(name: str) -> Callable[[Patch], None]:
    """The norm's ``name`` is coupled to the channels in reverse order."""

    def plant(patch: Patch) -> None:
        original = RULES[aten.batch_norm.default]

        def wrong(site: Site) -> Any:
            parameter = site.arg(name).name
            (factor,) = site.values[parameter][0]  # type: ignore[index]
            right = site.values[parameter]
            site.values[parameter] = (exactly(np.ascontiguousarray(factor.ids[::-1])),)
            try:
                return original(site)
            finally:
                site.values[parameter] = right

        patch.setitem(RULES, aten.batch_norm.default, wrong)

    return plant


def statistics_forgotten(patch: Patch) -> None:
    patch.setattr(Site, "statistics", lambda self: None)


def softmax_over_free_channels(patch: Patch) -> None:
    for target in (aten.softmax.int, aten._softmax.default):
        patch.setitem(RULES, target, lambda site: site.axes("self"))


def sum_not_coupled(patch: Patch) -> None:
    for target in (aten.add.Tensor, aten.add_.Tensor):
        patch.setitem(RULES, target, lambda site: site.axes("self"))


def permute_ignored(patch: Patch) -> None:
    patch.setitem(RULES, aten.permute.default, lambda site: site.axes("self"))


def contraction_not_masked(patch: Patch) -> None:
    original = Site.contract

    def forgetful(self: Site, operand: object, axis: int) -> None:
        original(self, operand, axis)
        self.records.contractions.clear()

    patch.setattr(Site, "contract", forgetful)


def conv_groups_uneven(patch: Patch) -> None:
    patch.setattr(convolution, "EqualCount", lambda node, ids, parts: EqualCount(node, ids, 1))


def biases_shifted(patch: Patch) -> None:
    original = slicing._assign

    def shifted(module: Any, names: Any, old: Any, new: Any) -> None:
        original(module, names, old, new.roll(1) if new.dim() == 1 else new)

    patch.setattr(slicing, "_assign", shifted)


def mask_one_off(patch: Patch) -> None:
    original = Site.contract

    def rolled(self: Site, operand: object, axis: int) -> None:
        original(self, operand, axis)
        found = self.records.contractions
        if found and found[-1].operand == getattr(operand, "name", ""):
            (factor,) = found[-1].channels
            shifted = exactly(np.roll(factor.ids, 1))
            found[-1] = replace(found[-1], channels=shifted)

    patch.setattr(Site, "contract", rolled)


def macs_of_inputs_forgotten(patch: Patch) -> None:
    original = Site.macs

    def without_last(self: Site, inner: int, channels: Any, output: Any = None) -> None:
        original(self, inner, tuple(channels)[:-1], output)

    patch.setattr(Site, "macs", without_last)


def _writing(change: Callable[[Any, Any], Any]) -> Callable[[Patch], None]:
    """Lowering writes other zeros than the plan says; ``change`` gets a mask and its name."""

    def plant(patch: Patch) -> None:
        original = plan_application.write_zeros

        def wrong(module: Any, zero: Any) -> None:
            original(module, {name: change(mask, name) for name, mask in zero.items()})

        patch.setattr(plan_application, "write_zeros", wrong)

    return plant


def _one_flipped(mask: Any, _: str) -> Any:
    wrong = np.array(mask)
    wrong.flat[0] = not wrong.flat[0]
    return wrong


def zeros_not_multiplied(patch: Patch) -> None:
    patch.setattr(masking, "_multiply_zeros", lambda *_: None)


FAULTS = (
    Fault("cat order", (("concat", 0),), cat_in_another_order),
    Fault("split parts swapped", (("split", 0),), split_parts_swapped, ANY),
    Fault("split off by one", (("separate_attention", 1), ("split", 0)), split_off_by_one, ANY),
    Fault("split sizes kept", (("split", 0),), _skip_edit(edits.SetSplits), ANY),
    Fault("slice one late", (("slice", 1),), slice_starts_one_late, ANY),
    Fault("slice range kept", (("slice", 0),), _skip_edit(edits.SetRange), ANY),
    Fault("index in order", (("shuffle", 1),), index_left_in_order),
    Fault("index kept", (("shuffle", 0),), _skip_edit(edits.Reindex), ANY),
    Fault("pad sides swapped", (("pad_shortcut", 2),), pad_sides_swapped),
    Fault("pad amounts kept", (("pad_shortcut", 0),), _skip_edit(edits.SetPad), ANY),
    Fault("head layout", (("separate_attention", 0),), heads_in_another_layout),
    Fault("heads not joined", (("separate_attention", 0),), heads_not_joined, ANY),
    Fault("pixel shuffle rows", (("pixel_shuffle", 0),), pixel_shuffle_by_rows),
    Fault("flatten order", (("conv", 0),), flatten_backwards, SILENT, "flattened"),
    Fault("conv group columns", (("grouped", 1),), grouped_columns_of_the_neighbour),
    Fault("conv groups uneven", (("grouped", 1),), conv_groups_uneven, ANY),
    Fault("depthwise groups kept", (("depthwise", 0),), _skip_edit(edits.SetCount), ANY),
    Fault("depthwise multiplier", (("depthwise", 1),), depthwise_multiplier_tiled),
    Fault("recurrent gates", (("recurrent", 1),), gates_interleaved),
    Fault("gated halves", (("gate", 0),), neighbours_as_gates),
    Fault("pixel unshuffle", (("pixel_shuffle", 2),), unshuffled_backwards),
    Fault("norm mean", (("residual", 0),), _norm_reading("running_mean")),
    Fault("norm variance", (("residual", 0),), _norm_reading("running_var")),
    Fault("norm weight", (("dense", 0),), _norm_reading("weight")),
    Fault("mean over channels", (("spatial_attention", 0),), statistics_forgotten),
    Fault("layer norm", (("mlp", 0),), statistics_forgotten, ANY),
    Fault("softmax over channels", (("gram", 0),), softmax_over_free_channels),
    Fault("attention scale", (("attention", 0),), _skip_edit(edits.SetNumber)),
    Fault("view sizes kept", (("attention", 1),), _skip_edit(edits.SetSizes), ANY),
    Fault("sum not coupled", (("residual", 0),), sum_not_coupled, ANY),
    Fault("permuted axes", (("mlp", 3),), permute_ignored, ANY),
    Fault("contraction not masked", (("residual", 0),), contraction_not_masked),
    Fault("mask one off", (("residual", 0),), mask_one_off),
    Fault("sliced one off", (("residual", 0),), biases_shifted),
    Fault("macs", (("residual", 0),), macs_of_inputs_forgotten, message="macs"),
    Fault("zeros elsewhere", (("residual", 0),), _writing(lambda m, _: np.roll(m, 1)), zeros=True),
    Fault("zeros inverted", (("grouped", 1),), _writing(lambda m, _: ~m), zeros=True),
    Fault("a zero too many", (("separate_attention", 0),), _writing(_one_flipped), zeros=True),
    Fault("no zeros", (("recurrent", 0),), _writing(lambda m, _: np.ones_like(m)), zeros=True),
    Fault("zeros unmasked", (("residual", 0),), zeros_not_multiplied, zeros=True),
    Fault("constants keep their size", (("constants", 0),), _skip_edit(edits.SetSizes), ANY),
)


def _plan(program: Program, seed: int, fault: Fault) -> Plan:
    plan = random_plan(couple(program), seed)
    return with_random_zeros(plan, couple(program), seed) if fault.zeros else plan


def _check_plans(program: Program, fault: Fault) -> None:
    for seed in range(3):
        check_theorem(program, _plan(program, seed, fault))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_theorem_fails_under(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Recipe(fault.blocks, fault.head).capture()
    check_theorem(program, _plan(program, 0, fault))
    fault.plant(monkeypatch)
    with pytest.raises(fault.shows_as) as caught:
        _check_plans(fresh(program), fault)
    if caught.type is AssertionError:
        assert fault.message in str(caught.value)
