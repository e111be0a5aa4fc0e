"""Cases of operations that move, split, join or make axes."""

from __future__ import annotations

import operator
from typing import Any

from compressc.choices.operation import CHOOSE
from tests.graph_kit import Kit, aten
from tests.rule_cases.catalogue import case


@case(
    aten.cat.default,
    aten.concat.default,
    aten.concatenate.default,
    prunes=("a", "b"),
    dynamic_batch=True,
)
def concatenate_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op([kit.source("a"), kit.source("b", 6)], 1), 14)


@case(aten.cat.default, prunes=("a",))
def concatenate_space(kit: Kit, op: Any) -> Any:
    return kit.read("r", op([kit.source("a"), kit.source("b")], 2), 8)


@case(aten.stack.default)
def stack_branches(kit: Kit, op: Any) -> Any:
    found = op([kit.source("a"), kit.source("b")], 1)
    return kit.read("r", aten.amax.default(found, [1]), 8)


_SPLITS: dict[Any, tuple[Any, ...]] = {
    aten.split.Tensor: (4, 1),
    aten.split.sizes: ([4, 4], 1),
    aten.split_with_sizes.default: ([4, 4], 1),
    aten.chunk.default: (2, 1),
    aten.unsafe_split.Tensor: (4, 1),
    aten.unsafe_chunk.default: (2, 1),
    aten.tensor_split.sections: (2, 1),
    aten.tensor_split.indices: ([4], 1),
}


@case(*_SPLITS)
def split_channels(kit: Kit, op: Any) -> Any:
    parts = op(kit.source("a"), *_SPLITS[op])
    return kit.read("r", parts[0], 4), kit.read("s", parts[1], 4)


@case(aten.split_with_sizes.default)
def split_unevenly_and_add(kit: Kit, op: Any) -> Any:
    parts = op(kit.source("a", 10), [2, 4, 4], 1)
    total = aten.add.Tensor(parts[1], parts[2])
    return kit.read("r", parts[0], 2), kit.read("s", total, 4)


@case(aten.unbind.int, pins=("a",), prunes=("b",))
def unbind_channels(kit: Kit, op: Any) -> Any:
    parts = op(kit.source("a", 2), 1)
    found = aten.mul.Tensor(parts[0], parts[1])
    return aten.mul.Tensor(found, 2.0), kit.read("s", kit.source("b"), 8)


@case(aten.unbind.int)
def unbind_branches(kit: Kit, op: Any) -> Any:
    pair = aten.view.default(kit.source("a", 16), [-1, 2, 8, 6, 6])
    parts = op(pair, 1)
    return kit.read("r", aten.mul.Tensor(parts[0], parts[1]), 8)


@case(aten.slice.Tensor)
def slice_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", op(x, 1, 2, 7), 5), kit.read("s", op(x, 1, -3, 9223372036854775807), 3)


@case(aten.slice.Tensor, prunes=("a", "b"))
def every_other_channel(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 1, 0, 8, 2), 4), kit.read("s", kit.source("b"), 8)


@case(aten.narrow.default)
def narrow_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", op(x, 1, 3, 4), 4), kit.read("s", op(x, 1, 0, 8), 8)


@case(aten.select.int, pins=("a",), prunes=("b",))
def select_a_channel(kit: Kit, op: Any) -> Any:
    return op(kit.source("a"), 1, 3), kit.read("s", kit.source("b"), 8)


@case(aten.select.int)
def select_a_row(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 2, 3), 8)


@case(operator.getitem)
def take_a_part(kit: Kit, op: Any) -> Any:
    parts = aten.split.Tensor(kit.source("a"), 4, 1)
    return kit.read("r", op(parts, 1), 4)


@case(aten.view.default, aten.reshape.default, aten._unsafe_view.default, dynamic_batch=True)
def view_heads(kit: Kit, op: Any) -> Any:
    tokens = aten.contiguous.default(aten.movedim.int(kit.source("a"), 1, -1))
    heads = op(tokens, [-1, 36, 2, 4])
    joined = op(aten.relu.default(heads), [-1, 36, 8])
    return kit.read("r", joined, 8, -1)


@case(aten.view.default, aten.reshape.default, dynamic_batch=True)
def view_a_computed_batch(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    size = operator.mul(aten.sym_size.int(x, 0), 8)
    alone = op(x, [size, 1, 6, 6])
    back = op(kit.conv("b", alone, 1, 1, 3), [aten.sym_size.int(x, 0), 8, 6, 6])
    return kit.read("r", back, 8)


@case(aten.flatten.using_ints, dynamic_batch=True)
def flatten_everything(kit: Kit, op: Any) -> Any:
    return kit.linear("r", op(kit.source("a"), 1), 8 * 36, 4)


@case(aten.unflatten.int, dynamic_batch=True)
def unflatten_heads(kit: Kit, op: Any) -> Any:
    tokens = aten.movedim.int(kit.source("a"), 1, -1)
    heads = aten.sigmoid.default(op(tokens, -1, [2, 4]))
    return kit.linear("r", aten.flatten.using_ints(heads, 3), 8, 4)


@case(aten.expand.default, dynamic_batch=True)
def expand_a_parameter(kit: Kit, op: Any) -> Any:
    planes = op(kit.param("planes", 1, 8, 1, 1), [-1, -1, 6, 6])
    return kit.read("r", aten.mul.Tensor(kit.source("a"), planes), 8)


@case(aten.expand.default, dynamic_batch=True)
def expand_one_channel(kit: Kit, op: Any) -> Any:
    gate = op(kit.source("g", 1), [-1, 8, 6, 6])
    return kit.read("r", aten.mul.Tensor(kit.source("a"), gate), 8)


@case(aten.expand_as.default, dynamic_batch=True)
def expand_like_a_value(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", aten.mul.Tensor(x, op(kit.param("scale", 8, 1, 1), x)), 8)


@case(aten.view_as.default, aten.reshape_as.default, dynamic_batch=True)
def view_like_a_value(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    found = op(aten.flatten.using_ints(kit.source("b"), 2), x)
    return kit.read("r", aten.mul.Tensor(x, found), 8)


@case(aten.repeat.default, aten.tile.default, dynamic_batch=True)
def repeat_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), [1, 2, 1, 1]), 16)


@case(aten.repeat_interleave.self_int)
def repeat_each_channel(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 3, 1), 24)


@case(aten.pixel_shuffle.default)
def channels_to_space(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a", 16), 2), 4)


@case(aten.pixel_unshuffle.default)
def space_to_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 2), 32)


@case(aten.permute.default)
def permute_axes(kit: Kit, op: Any) -> Any:
    return kit.linear("r", op(kit.source("a"), [0, 2, -1, 1]), 8, 4)


@case(aten.transpose.int, aten.transpose_.default, aten.swapaxes.default, aten.swapdims.default)
def swap_axes(kit: Kit, op: Any) -> Any:
    return kit.linear("r", op(aten.clone.default(kit.source("a")), 1, -1), 8, 4)


@case(aten.t.default, aten.numpy_T.default)
def transposed_parameter(kit: Kit, op: Any) -> Any:
    flat = aten.mean.dim(kit.source("a"), [2, 3])
    return aten.mm.default(flat, op(kit.param("w", 4, 8)))


@case(aten.mT.default, aten.adjoint.default)
def transposed_tokens(kit: Kit, op: Any) -> Any:
    return kit.linear("r", op(aten.flatten.using_ints(kit.source("a"), 2)), 8, 4)


@case(aten.movedim.int, aten.moveaxis.int)
def move_an_axis(kit: Kit, op: Any) -> Any:
    return kit.linear("r", op(kit.source("a"), 1, 3), 8, 4)


@case(aten.unsqueeze.default, aten.unsqueeze_.default)
def add_an_axis(kit: Kit, op: Any) -> Any:
    found = op(aten.clone.default(kit.source("a")), 1)
    return kit.read("r", found, 8, 2)


_SQUEEZES: dict[Any, tuple[Any, ...]] = {
    aten.squeeze.default: (),
    aten.squeeze.dim: (2,),
    aten.squeeze.dims: ([2, 3],),
    aten.squeeze_.dim: (-1,),
}


@case(*(op for op in _SQUEEZES if op is not aten.squeeze.default))
def drop_an_axis(kit: Kit, op: Any) -> Any:
    pooled = aten.mean.dim(kit.source("a"), [2, 3], True)
    return kit.read("r", op(aten.clone.default(pooled), *_SQUEEZES[op]), 8)


@case(aten.squeeze.default, prunes=("a", "b"))
def drop_every_axis_of_size_one(kit: Kit, op: Any) -> Any:
    pooled = aten.mean.dim(kit.source("a"), [2, 3], True)
    return kit.read("r", op(pooled), 8), kit.read("s", kit.source("b"), 8)


@case(aten.pad.default, aten.constant_pad_nd.default, prunes=("a", "b"), dynamic_batch=True)
def pad_channels(kit: Kit, op: Any) -> Any:
    padded = op(kit.source("a"), [0, 0, 0, 0, 1, 3])
    return kit.read("r", aten.add.Tensor(padded, kit.source("b", 12)), 12)


@case(aten.pad.default)
def mirror_space(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), [1, 1, 1, 1], "reflect"), 8)


@case(aten.zeros.default, aten.ones.default, aten.full.default, aten.empty.memory_format)
def make_constants(kit: Kit, op: Any) -> Any:
    fill = (0.5,) if op is aten.full.default else ()
    made = kit.call(op, [1, 8, 1, 1], *fill)
    if op is aten.empty.memory_format:
        made = aten.fill_.Scalar(made, 0.5)
    return kit.read("r", aten.add.Tensor(kit.source("a"), made), 8)


@case(aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
def make_constants_beside(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    fill = (0.5,) if op is aten.new_full.default else ()
    made = op(x, [1, 4, 6, 6], *fill)
    if op is aten.new_empty.default:
        made = aten.fill_.Scalar(made, 0.5)
    return kit.read("r", aten.add.Tensor(aten.narrow.default(x, 1, 0, 4), made), 4)


@case(
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.empty_like.default,
    dynamic_batch=True,
)
def make_constants_like(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    fill = (0.5,) if op is aten.full_like.default else ()
    made = op(x, *fill)
    if op is aten.empty_like.default:
        made = aten.fill_.Scalar(made, 0.5)
    return kit.read("r", aten.mul.Tensor(x, aten.add.Scalar(made, 1)), 8)


@case(aten.glu.default)
def halves_as_gates(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a", 16), 1), 8), kit.read("s", kit.source("b"), 8)


@case(aten.movedim.intlist, aten.moveaxis.intlist)
def move_two_axes(kit: Kit, op: Any) -> Any:
    return kit.linear("r", op(kit.source("a"), [1, 2], [-1, 1]), 8, 4)


@case(aten.rand_like.default, aten.randn_like.default)
def noise_like_a_value(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", aten.add.Tensor(x, aten.mul.Scalar(op(x), 0.0)), 8)


@case(aten.max.other, aten.min.other)
def extreme_of_two_values(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), kit.source("b")), 8)


@case(aten.tril.default, aten.triu.default)
def triangle_of_space(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a")), 8)


@case(aten.unfold.default)
def windows_over_space(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 2, 3, 1), 8)


@case(aten.type_as.default, aten.to.other)
def type_of_another_value(kit: Kit, op: Any) -> Any:
    pooled = aten.mean.dim(kit.source("a"), [2, 3])
    # The other value has more axes, and other channels.
    return kit.read("r", op(pooled, kit.source("b", 5)), 8), kit.read("s", kit.source("b", 5), 5)


@case(aten.view_as_complex.default, aten.view_as_real.default)
def rotate_pairs(kit: Kit, op: Any) -> Any:
    del op
    pairs = aten.view.default(kit.source("a"), [-1, 8, 6, 3, 2])
    turned = aten.view_as_complex.default(pairs)
    real = aten.view_as_real.default(aten.mul.Tensor(turned, turned))
    return kit.read("r", aten.reshape.default(real, [-1, 8, 6, 6]), 8)


@case(CHOOSE, prunes=("a", "b"))
def one_of_two(kit: Kit, op: Any) -> Any:
    return kit.read("r", op([kit.source("a"), kit.source("b")], "which"), 8)
