"""Cases of operations with weights, norms, pools and reductions."""

from __future__ import annotations

from typing import Any

from tests.graph_kit import BATCH, Kit, aten
from tests.rule_cases.catalogue import case


@case(aten.conv2d.default, aten.conv2d.padding)
def plain_convolution(kit: Kit, op: Any) -> Any:
    padding: Any = "same" if op is aten.conv2d.padding else [1, 1]
    weight, bias = kit.param("a.weight", 8, 3, 3, 3), kit.param("a.bias", 8)
    return kit.read("r", op(kit.x, weight, bias, [1, 1], padding), 8)


@case(aten.conv1d.default, aten.conv1d.padding)
def sequence_convolution(kit: Kit, op: Any) -> Any:
    padding: Any = "same" if op is aten.conv1d.padding else [1]
    weight, bias = kit.param("a.weight", 8, 3, 3), kit.param("a.bias", 8)
    flat = aten.flatten.using_ints(kit.x, 2)
    return kit.read("r", op(flat, weight, bias, [1], padding), 8)


@case(aten.conv3d.default, aten.conv3d.padding)
def volume_convolution(kit: Kit, op: Any) -> Any:
    padding: Any = "same" if op is aten.conv3d.padding else [1, 1, 1]
    weight, bias = kit.param("a.weight", 8, 3, 3, 3, 3), kit.param("a.bias", 8)
    deep = aten.unsqueeze.default(kit.x, 2)
    return kit.read("r", op(deep, weight, bias, [1, 1, 1], padding), 8)


@case(aten.conv2d.default, prunes=("a", "g"))
def grouped_convolution(kit: Kit, op: Any) -> Any:
    weight, bias = kit.param("g.weight", 12, 4, 3, 3), kit.param("g.bias", 12)
    found = op(kit.source("a"), weight, bias, [1, 1], [1, 1], [1, 1], 2)
    return kit.read("r", found, 12)


@case(aten.conv2d.default)
def depthwise_convolution(kit: Kit, op: Any) -> Any:
    weight = kit.param("d.weight", 16, 1, 3, 3)
    found = op(kit.source("a"), weight, None, [1, 1], [1, 1], [1, 1], 8)
    return kit.read("r", found, 16)


@case(aten.conv_transpose2d.input, prunes=("a",))
def transposed_convolution(kit: Kit, op: Any) -> Any:
    weight, bias = kit.param("t.weight", 8, 6, 2, 2), kit.param("t.bias", 6)
    return kit.read("r", op(kit.source("a"), weight, bias, [2, 2]), 6)


@case(aten.conv_transpose1d.default)
def transposed_sequence_convolution(kit: Kit, op: Any) -> Any:
    weight, bias = kit.param("t.weight", 8, 6, 2), kit.param("t.bias", 6)
    flat = aten.flatten.using_ints(kit.source("a"), 2)
    return kit.read("r", op(flat, weight, bias, [2]), 6)


@case(aten.conv_transpose3d.input)
def transposed_volume_convolution(kit: Kit, op: Any) -> Any:
    weight, bias = kit.param("t.weight", 8, 6, 1, 2, 2), kit.param("t.bias", 6)
    deep = aten.unsqueeze.default(kit.source("a"), 2)
    return kit.read("r", op(deep, weight, bias, [1, 2, 2]), 6)


@case(aten.linear.default)
def linear_layer(kit: Kit, op: Any) -> Any:
    flat = aten.mean.dim(kit.x, [2, 3])
    weight, bias = kit.param("a.weight", 8, 3), kit.param("a.bias", 8)
    return kit.linear("r", op(flat, weight, bias), 8, 4)


@case(aten.matmul.default)
def activations_multiplied(kit: Kit, op: Any) -> Any:
    left = aten.flatten.using_ints(kit.source("a"), 2)
    right = aten.flatten.using_ints(kit.source("b"), 2)
    return kit.read("r", op(aten.transpose.int(left, 1, 2), right), 36, 2)


@case(aten.bmm.default)
def batched_product(kit: Kit, op: Any) -> Any:
    left = aten.flatten.using_ints(kit.source("a"), 2)
    right = aten.flatten.using_ints(kit.source("b"), 2)
    return op(aten.transpose.int(left, 1, 2), right)


@case(aten.mm.default)
def product_with_a_parameter(kit: Kit, op: Any) -> Any:
    flat = aten.mean.dim(kit.source("a"), [2, 3])
    return op(flat, kit.param("w", 8, 4))


@case(aten.addmm.default)
def product_and_bias(kit: Kit, op: Any) -> Any:
    flat = aten.mean.dim(kit.source("a"), [2, 3])
    return kit.linear("r", op(kit.param("b", 6), flat, kit.param("w", 8, 6)), 6, 4)


@case(aten.baddbmm.default)
def batched_product_and_bias(kit: Kit, op: Any) -> Any:
    left = aten.transpose.int(aten.flatten.using_ints(kit.source("a"), 2), 1, 2)
    right = aten.flatten.using_ints(kit.source("b"), 2)
    bias = aten.flatten.using_ints(kit.source("c", 36), 2)
    return aten.mean.dim(op(bias, left, right), [1])


@case(aten.einsum.default)
def einsum_over_heads(kit: Kit, op: Any) -> Any:
    tokens = aten.transpose.int(aten.flatten.using_ints(kit.source("a"), 2), 1, 2)
    heads = aten.view.default(tokens, [-1, 36, 2, 4])
    return op("bnhd,hdo->bno", [heads, kit.param("w", 2, 4, 5)])


@case(aten.einsum.default)
def einsum_of_activations(kit: Kit, op: Any) -> Any:
    return aten.mean.dim(op("bchw,bcij->bhwij", [kit.source("a"), kit.source("b")]), [1])


@case(aten.scaled_dot_product_attention.default)
def attention(kit: Kit, op: Any) -> Any:
    query, key, value = (
        aten.unsqueeze.default(
            aten.transpose.int(aten.flatten.using_ints(kit.source(name, width), 2), 1, 2), 1
        )
        for name, width in (("a", 8), ("b", 8), ("c", 6))
    )
    return kit.read("r", op(query, key, value), 6, -1)


@case(aten.batch_norm.default)
def batch_norm(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    weight, bias = kit.param("n.weight", 8), kit.param("n.bias", 8)
    mean, variance = (
        kit.buffer("running_mean", kit.noise(8)),
        kit.buffer("running_var", kit.noise(8).abs() + 0.5),
    )
    return kit.read("r", op(x, weight, bias, mean, variance, False, 0.1, 1e-5, False), 8)


@case(aten.instance_norm.default)
def instance_norm(kit: Kit, op: Any) -> Any:
    weight, bias = kit.param("n.weight", 8), kit.param("n.bias", 8)
    found = op(kit.source("a"), weight, bias, None, None, True, 0.1, 1e-5, False)
    return kit.read("r", aten.relu.default(found), 8)


@case(aten.layer_norm.default, aten.rms_norm.default)
def layer_norm(kit: Kit, op: Any) -> Any:
    tokens = aten.movedim.int(kit.source("a"), 1, -1)
    parameters = [kit.param("n.weight", 8)]
    if op is aten.layer_norm.default:
        parameters.append(kit.param("n.bias", 8))
    return kit.read("r", op(tokens, [8], *parameters), 8, -1)


@case(aten.group_norm.default)
def group_norm(kit: Kit, op: Any) -> Any:
    weight, bias = kit.param("n.weight", 8), kit.param("n.bias", 8)
    return kit.read("r", op(kit.source("a"), 2, weight, bias), 8)


@case(aten.prelu.default)
def slopes(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), kit.param("slope", 8)), 8)


@case(aten.prelu.default)
def one_slope(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), kit.param("slope", 1)), 8)


_POOLS: dict[Any, tuple[Any, ...]] = {
    aten.max_pool1d.default: ([2],),
    aten.max_pool2d.default: ([2, 2],),
    aten.max_pool3d.default: ([1, 2, 2],),
    aten.avg_pool1d.default: ([2],),
    aten.avg_pool2d.default: ([2, 2],),
    aten.avg_pool3d.default: ([1, 2, 2],),
    aten.adaptive_avg_pool1d.default: ([4],),
    aten.adaptive_avg_pool2d.default: ([2, 2],),
    aten.adaptive_avg_pool3d.default: ([1, 2, 2],),
    aten.max_pool2d_with_indices.default: ([2, 2],),
    aten.max_pool3d_with_indices.default: ([1, 2, 2],),
    aten.adaptive_max_pool1d.default: ([4],),
    aten.adaptive_max_pool2d.default: ([2, 2],),
    aten.adaptive_max_pool3d.default: ([1, 2, 2],),
    aten.upsample_nearest1d.vec: ([12], None),
    aten.upsample_nearest2d.vec: ([8, 8], None),
    aten.upsample_nearest3d.vec: ([1, 8, 8], None),
    aten._upsample_nearest_exact2d.vec: ([8, 8], None),
    aten.upsample_linear1d.vec: ([12], False, None),
    aten.upsample_bilinear2d.vec: ([8, 8], False, None),
    aten.upsample_trilinear3d.vec: ([1, 8, 8], False, None),
    aten.upsample_bicubic2d.vec: ([8, 8], False, None),
    aten.upsample_nearest2d.default: ([8, 8],),
    aten.upsample_bilinear2d.default: ([8, 8], False),
    aten._upsample_bilinear2d_aa.vec: ([4, 4], False, None),
    aten._upsample_bicubic2d_aa.vec: ([4, 4], False, None),
    aten._adaptive_avg_pool2d.default: ([2, 2],),
    aten._upsample_bicubic2d_aa.default: ([4, 4], False),
    aten._upsample_bilinear2d_aa.default: ([4, 4], False),
    aten._upsample_nearest_exact1d.default: ([12],),
    aten._upsample_nearest_exact1d.vec: ([12], None),
    aten._upsample_nearest_exact2d.default: ([8, 8],),
    aten._upsample_nearest_exact3d.default: ([1, 8, 8],),
    aten._upsample_nearest_exact3d.vec: ([1, 8, 8], None),
    aten.upsample_bicubic2d.default: ([8, 8], False),
    aten.upsample_linear1d.default: ([12], False),
    aten.upsample_nearest1d.default: ([12],),
    aten.upsample_nearest3d.default: ([1, 8, 8],),
    aten.upsample_trilinear3d.default: ([1, 8, 8], False),
    aten.max_pool1d_with_indices.default: ([2],),
    aten.reflection_pad1d.default: ([1, 1],),
    aten.reflection_pad2d.default: ([1, 1, 2, 2],),
    aten.reflection_pad3d.default: ([1, 1, 2, 2, 0, 0],),
    aten.replication_pad1d.default: ([1, 1],),
    aten.replication_pad2d.default: ([1, 1, 2, 2],),
    aten.replication_pad3d.default: ([1, 1, 2, 2, 1, 1],),
}
_WITH_PLACES = ("with_indices", "adaptive_max_pool")


@case(*_POOLS)
def over_space(kit: Kit, op: Any) -> Any:
    x, name = kit.source("a"), str(op)
    if "1d" in name:
        x = aten.flatten.using_ints(x, 2)
    elif "3d" in name:
        x = aten.unsqueeze.default(x, 2)
    found = op(x, *_POOLS[op])
    if any(part in name for part in _WITH_PLACES):
        found = found[0]
    return kit.read("r", aten.relu.default(found), 8)


@case(aten.grid_sampler.default, aten.grid_sampler_2d.default)
def sample_at_places(kit: Kit, op: Any) -> Any:
    grid = kit.input("grid", kit.noise(3, 4, 4, 2).clamp(-1, 1))
    return kit.read("r", op(kit.source("a"), grid, 0, 0, False), 8)


@case(aten.grid_sampler_3d.default)
def sample_a_volume(kit: Kit, op: Any) -> Any:
    grid = kit.input("grid", kit.noise(3, 1, 4, 4, 3).clamp(-1, 1))
    deep = aten.unsqueeze.default(kit.source("a"), 2)
    return kit.read("r", op(deep, grid, 0, 0, False), 8)


@case(aten.max_unpool2d.default)
def unpool(kit: Kit, op: Any) -> Any:
    pooled = aten.max_pool2d_with_indices.default(kit.source("a"), [2, 2])
    return kit.read("r", op(pooled[0], pooled[1], [6, 6]), 8)


@case(aten.max_unpool3d.default)
def unpool_a_volume(kit: Kit, op: Any) -> Any:
    deep = aten.unsqueeze.default(kit.source("a"), 2)
    pooled = aten.max_pool3d_with_indices.default(deep, [1, 2, 2])
    return kit.read("r", op(pooled[0], pooled[1], [1, 6, 6], [1, 2, 2], [0, 0, 0]), 8)


@case(aten._weight_norm.default, aten._weight_norm_interface.default, prunes=("a", "b"))
def normalised_weight(kit: Kit, op: Any) -> Any:
    found = op(kit.param("b.weight", 6, 8, 1, 1), kit.param("b.scale", 6, 1, 1, 1), 0)
    weight = found[0] if op is aten._weight_norm_interface.default else found
    return kit.read("r", aten.conv2d.default(kit.source("a"), weight), 6)


@case(aten.inner.default)
def inner_product(kit: Kit, op: Any) -> Any:
    return op(aten.mean.dim(kit.source("a"), [2, 3]), kit.param("w", 4, 8))


def _rows(kit: Kit) -> Any:
    """Return rows of numbers: with them nobody can say which axis the batch is."""
    return kit.input("rows", kit.noise(BATCH, 5))


def _vector(kit: Kit, name: str, rows: Any, size: int) -> Any:
    """Return one vector of channels for the whole batch."""
    return aten.mean.dim(kit.linear(name, rows, 5, size), [0])


@case(aten.dot.default, aten.vdot.default)
def product_of_vectors(kit: Kit, op: Any) -> Any:
    rows = _rows(kit)
    found = op(_vector(kit, "a", rows, 8), _vector(kit, "b", rows, 8))
    return aten.mul.Tensor(kit.read("r", kit.source("c"), 8), found)


@case(aten.mv.default)
def matrix_and_vector(kit: Kit, op: Any) -> Any:
    return op(kit.param("w", 5, 8), _vector(kit, "a", _rows(kit), 8))


@case(aten.outer.default, aten.ger.default, prunes=("a", "b"))
def outer_product(kit: Kit, op: Any) -> Any:
    rows = _rows(kit)
    found = op(_vector(kit, "a", rows, 8), _vector(kit, "b", rows, 6))
    return kit.read("r", aten.mm.default(kit.param("w", 3, 8), found), 6)


@case(aten.cosine_similarity.default)
def cosine_of_channels(kit: Kit, op: Any) -> Any:
    return op(kit.source("a"), kit.source("b"), 1)


def _recurrent(kit: Kit, op: Any, gates: int, layers: int, directions: int, hidden: int) -> Any:
    tokens = aten.transpose.int(aten.flatten.using_ints(kit.source("a"), 2), 1, 2)
    zeros = aten.new_zeros.default(kit.x, [layers * directions, BATCH, hidden])
    params: list[Any] = []
    for layer in range(layers):
        width = hidden * directions if layer else 8
        for direction in range(directions):
            owner = f"rnn{layer}{direction}" if layer + direction else "rnn"
            params += [
                kit.param(f"{owner}.weight", gates * hidden, width),
                kit.param(f"{owner}.hidden", gates * hidden, hidden),
                kit.param(f"{owner}.bias", gates * hidden),
                kit.param(f"{owner}.hidden_bias", gates * hidden),
            ]
    state: Any = [zeros, zeros] if op is aten.lstm.input else zeros
    found = op(tokens, state, params, True, layers, 0.0, False, directions == 2, True)
    return kit.read("r", found[0], hidden * directions, -1)


_GATES = {aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}


@case(*_GATES, prunes=("a", "rnn"))
def recurrent_layer(kit: Kit, op: Any) -> Any:
    return _recurrent(kit, op, _GATES[op], layers=1, directions=1, hidden=6)


@case(aten.lstm.input, aten.gru.input, prunes=("a", "rnn"))
def recurrent_layers_both_ways(kit: Kit, op: Any) -> Any:
    return _recurrent(kit, op, _GATES[op], layers=2, directions=2, hidden=5)
