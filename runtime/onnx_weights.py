"""Which stored tensors of an ONNX graph are weights, and which node uses them.

A stored tensor is an initializer, a sparse initializer or the value of a Constant node. It counts
as params, all its elements (zeros and the holes of a sparse tensor too), if it is
- a floating-point tensor of at least one axis, unless it only ever serves as a setting: a scale
  of a quantiser, the sizes of a Resize;
- an integer tensor that serves as quantised weight or bias: read by DequantizeLinear,
  QLinearConv, MatMulInteger and the like.
Not counted: shapes, indices and other int64 or bool tensors, single numbers (rank 0), zero points.
A tensor used by several nodes counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx

from compressc.runtime.onnx_shapes import shared_constant, subgraphs

_FLOATS = frozenset(
    number
    for name, number in onnx.TensorProto.DataType.items()
    if name.startswith(("FLOAT", "DOUBLE", "BFLOAT"))
)
# Inputs that hold a quantised weight or bias.
_QUANTISED = {
    "DequantizeLinear": (0,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "ConvInteger": (1,),
    "MatMulInteger": (0, 1),
    "QGemm": (0, 3, 6),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (1,),
    "DynamicQuantizeLSTM": (1, 2),
    "MatMulNBits": (1,),
    "QAttention": (1,),
}
# Inputs that hold a setting, not a weight.
_SETTINGS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "DynamicQuantizeMatMul": (2, 3),
    "DynamicQuantizeLSTM": (8, 9, 10, 11),
    "MatMulNBits": (2, 3),
    "QAttention": (3, 4, 6, 7),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "NonMaxSuppression": (2, 3, 4),
}

# Operators through which a tensor is still the same tensor to its user.
_VIEWS = frozenset({"Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})

Place = tuple[str, int]


@dataclass
class _Stored:
    """One stored tensor and how it is used."""

    elements: int
    is_float: bool
    is_single: bool
    is_quantised: bool = False
    uses: int = 0
    settings: int = 0

    @property
    def params(self) -> int:
        if self.is_single:
            return 0
        only_setting = self.uses > 0 and self.uses == self.settings
        counts = self.is_quantised or (self.is_float and not only_setting)
        return self.elements if counts else 0


@dataclass
class _Scope:
    """What the names of a graph stand for, as far as it is stored or computed from stored."""

    origins: dict[str, frozenset[int]] = field(default_factory=dict)
    tensors: dict[str, int] = field(default_factory=dict)

    def define(self, name: str, index: int) -> None:
        self.origins[name] = frozenset({index})
        self.tensors[name] = index

    def forget(self, name: str) -> None:
        self.origins.pop(name, None)
        self.tensors.pop(name, None)

    def copy(self) -> _Scope:
        return _Scope(dict(self.origins), dict(self.tensors))


@dataclass
class Weights:
    """The stored tensors of a model.

    Attributes:
        folded: places of nodes that only compute on stored tensors, which runtimes do once, when
            they load the model. A place is (path of the graph, index of the node).
        sources: per place of every other node, the stored tensors it works on, directly or
            through folded nodes.
    """

    folded: set[Place] = field(default_factory=set)
    sources: dict[Place, frozenset[int]] = field(default_factory=dict)
    stored: list[_Stored] = field(default_factory=list)
    by_stamp: dict[str, int] = field(default_factory=dict)

    @property
    def params(self) -> int:
        """Elements of all weights."""
        return sum(tensor.params for tensor in self.stored)

    def claim(self, place: Place, taken: set[int]) -> int:
        """Return the params a node brings; what is in ``taken`` was claimed before."""
        new = self.sources.get(place, frozenset()) - taken
        taken |= new
        return sum(self.stored[index].params for index in new)


def trace_weights(graph: onnx.GraphProto) -> Weights:
    """Find the stored tensors of a graph with its subgraphs, and who works on them."""
    weights = Weights()
    _trace(graph, "", _Scope(), weights)
    return weights


def _trace(graph: onnx.GraphProto, path: str, scope: _Scope, weights: Weights) -> None:
    for value in graph.input:
        scope.forget(value.name)
    for tensor in graph.initializer:
        scope.define(tensor.name, _store(weights, tensor.dims, tensor.data_type))
    for sparse in graph.sparse_initializer:
        kind = sparse.values.data_type
        scope.define(sparse.values.name, _store(weights, sparse.dims, kind))
    for index, node in enumerate(graph.node):
        place = (path, index)
        if node.op_type == "Constant":
            weights.folded.add(place)
            scope.define(node.output[0], _store_constant(weights, node))
            continue
        given = [name for name in node.input if name]
        inner = list(subgraphs(node))
        origins = frozenset[int]().union(*(scope.origins.get(name, frozenset()) for name in given))
        is_folded = bool(given) and not inner and all(name in scope.origins for name in given)
        for name in node.output:
            scope.forget(name)
        if is_folded:
            weights.folded.add(place)
            scope.origins.update({name: origins for name in node.output if name})
        else:
            weights.sources[place] = origins
        if is_folded and node.op_type in _VIEWS and node.input[0] in scope.tensors:
            scope.tensors[node.output[0]] = scope.tensors[node.input[0]]
        else:
            _note_uses(node, scope, weights)
        for attribute, subgraph in inner:
            _trace(subgraph, f"{path}/{index}.{attribute}", scope.copy(), weights)


def _note_uses(node: onnx.NodeProto, scope: _Scope, weights: Weights) -> None:
    op = node.op_type
    for position, name in enumerate(node.input):
        if name not in scope.tensors:
            continue
        tensor = weights.stored[scope.tensors[name]]
        tensor.uses += 1
        tensor.settings += position in _SETTINGS.get(op, ())
        if position in _QUANTISED.get(op, ()) and not tensor.is_float:
            tensor.is_quantised = True
            if op == "MatMulNBits":
                # Several weights share a byte there.
                sizes = {a.name: a.i for a in node.attribute if a.name in ("K", "N")}
                tensor.elements = math.prod(sizes.values())


def _store_constant(weights: Weights, node: onnx.NodeProto) -> int:
    stamp = shared_constant(node)
    if stamp is not None and stamp in weights.by_stamp:
        return weights.by_stamp[stamp]
    attribute = node.attribute[0]
    if attribute.name == "value":
        stored = _store(weights, attribute.t.dims, attribute.t.data_type)
    elif attribute.name == "sparse_value":
        sparse = attribute.sparse_tensor
        stored = _store(weights, sparse.dims, sparse.values.data_type)
    elif attribute.name == "value_floats":
        stored = _store(weights, [len(attribute.floats)], onnx.TensorProto.FLOAT)
    else:
        stored = _store(weights, [], onnx.TensorProto.INT64)
    if stamp is not None:
        weights.by_stamp[stamp] = stored
    return stored


def _store(weights: Weights, dims: Iterable[int], kind: int) -> int:
    shape = tuple(dims)
    weights.stored.append(_Stored(math.prod(shape), kind in _FLOATS, not shape))
    return len(weights.stored) - 1
