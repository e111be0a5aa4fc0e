"""What one ONNX node does, in the terms of the engine; one rule per operator.

A rule returns a :class:`Reading`, or raises :class:`UnreadError` with the reason why the node stays
with ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from compressc.sparse_graph.graph_view import GraphView, attributes_of, is_plain
from compressc.sparse_graph.plan_numbers import (
    NO_ACTIVATION,
    ONE_PLACE,
    RELU,
    Activation,
    Kind,
    Window,
)

Weight = NDArray[np.float32]


class UnreadError(Exception):
    """The engine does not run this node; the text says why."""


@dataclass(frozen=True)
class Reading:
    """One operation of the engine.

    Attributes:
        node: where it comes from.
        kind: what it does.
        inputs: values of the graph that it reads.
        output: the value that it makes.
        weight: the initializer of its weights, (outputs, inputs per group, rows, columns); empty
            where ``made_weight`` is given or there are none.
        made_weight: weights that no initializer holds.
        bias: the initializer of its bias, or empty.
        groups: of a convolution.
        window: of a convolution or pool.
        activation: of an activation.
        is_maximum: whether a pool takes maxima.
        counts_padding: whether a pool's padding counts in an average.
    """

    node: onnx.NodeProto
    kind: Kind
    inputs: tuple[str, ...]
    output: str
    weight: str = ""
    made_weight: Weight | None = None
    bias: str = ""
    groups: int = 1
    window: Window = ONE_PLACE
    activation: Activation = NO_ACTIVATION
    is_maximum: bool = False
    counts_padding: bool = False


Rule = Callable[[onnx.NodeProto, GraphView], Reading]
_RULES: dict[str, Rule] = {}


def read_node(node: onnx.NodeProto, view: GraphView) -> Reading:
    """Return what a node does.

    Raises:
        UnreadError: if the engine has nothing for it.
    """
    rule = _RULES.get(node.op_type) if is_plain(node, node.op_type) else None
    if rule is None:
        raise UnreadError(f"the engine has no {node.op_type}")
    reading = rule(node, view)
    for name in (*reading.inputs, reading.output):
        if view.sample_sizes(name) is None:
            raise UnreadError(f"{name} is no batch of images or vectors of fixed size")
    return reading


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = rule
        return rule

    return register


def _window(node: onnx.NodeProto, kernel: tuple[int, int]) -> Window:
    attributes = attributes_of(node)
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UnreadError("its padding depends on the size of the image (auto_pad)")
    if attributes.get("ceil_mode", 0):
        raise UnreadError("its size is rounded up (ceil_mode)")
    pads = _pair_list(attributes.get("pads", [0, 0, 0, 0]))
    window = Window(
        kernel,
        _pair(attributes.get("strides", [1, 1])),
        (pads[0], pads[1]),
        _pair(attributes.get("dilations", [1, 1])),
    )
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * window.dilation[axis]
        if max(pads[axis], pads[axis + 2]) > reach:
            raise UnreadError("it is padded by more than its window spans")
    return window


def _pair_list(value: object) -> list[int]:
    return [int(size) for size in value] if isinstance(value, list) else []


def _pair(value: object) -> tuple[int, int]:
    sizes = _pair_list(value)
    if len(sizes) != 2:
        raise UnreadError("it is not about images of two axes")
    return sizes[0], sizes[1]


def _float_initializer(view: GraphView, name: str) -> Weight:
    array = view.constant(name) if name in view.initializers else None
    if array is None or array.dtype != np.float32:
        raise UnreadError("its weights are no float32 constants")
    if not np.isfinite(array).all():
        raise UnreadError("its weights are not finite")
    return array.astype(np.float32, copy=False)


def _input(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


@_rule("Conv")
def _convolution(node: onnx.NodeProto, view: GraphView) -> Reading:
    weight = _float_initializer(view, node.input[1])
    if weight.ndim != 4:
        raise UnreadError("it is not about images of two axes")
    bias = _input(node, 2)
    if bias:
        _float_initializer(view, bias)
    groups = attributes_of(node).get("group", 1)
    return Reading(
        node,
        Kind.CONVOLUTION,
        (node.input[0],),
        node.output[0],
        weight=node.input[1],
        bias=bias,
        groups=int(groups) if isinstance(groups, int) else 1,
        window=_window(node, (weight.shape[2], weight.shape[3])),
    )


@_rule("Gemm")
def _linear(node: onnx.NodeProto, view: GraphView) -> Reading:
    attributes = attributes_of(node)
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise UnreadError("it scales its product (alpha, beta)")
    if attributes.get("transA", 0) or not attributes.get("transB", 0):
        raise UnreadError("its weights are not stored one row per output")
    _float_initializer(view, node.input[1])
    bias = _input(node, 2)
    rows = view.initializers[node.input[1]].dims[0]
    if bias and _float_initializer(view, bias).shape != (rows,):
        raise UnreadError("its bias is not one number per output")
    return Reading(
        node,
        Kind.CONVOLUTION,
        (node.input[0],),
        node.output[0],
        weight=node.input[1],
        bias=bias,
    )


@_rule("MaxPool", "AveragePool")
def _pool(node: onnx.NodeProto, view: GraphView) -> Reading:
    if len([name for name in node.output if name]) > 1:
        raise UnreadError("it also returns where its maxima lie")
    attributes = attributes_of(node)
    window = _window(node, _pair(attributes.get("kernel_shape")))
    is_maximum = node.op_type == "MaxPool"
    pads = _pair_list(attributes.get("pads", [0, 0, 0, 0]))
    counts_padding = bool(attributes.get("count_include_pad", 0))
    if any(pads) and (not counts_padding if not is_maximum else not _is_positive(node, view)):
        raise UnreadError("its padding is not zeros that count")
    return Reading(
        node,
        Kind.POOL,
        (node.input[0],),
        node.output[0],
        window=window,
        is_maximum=is_maximum,
        counts_padding=counts_padding,
    )


def _is_positive(node: onnx.NodeProto, view: GraphView) -> bool:
    """Return whether what a node reads comes out of a function that is never below zero."""
    maker = view.makers.get(node.input[0])
    if maker is None:
        return False
    if is_plain(maker, "MaxPool"):
        return _is_positive(maker, view)
    if is_plain(maker, "Clip"):
        low = view.constant(_input(maker, 1))
        return low is not None and float(low.astype(np.float64)) >= 0
    return is_plain(maker, "Relu", "Sigmoid", "HardSigmoid")


@_rule("GlobalAveragePool")
def _global_average(node: onnx.NodeProto, _: GraphView) -> Reading:
    return Reading(node, Kind.GLOBAL_AVERAGE, (node.input[0],), node.output[0])


@_rule("ReduceMean")
def _mean(node: onnx.NodeProto, view: GraphView) -> Reading:
    attributes = attributes_of(node)
    axes = view.constant(_input(node, 1)) if _input(node, 1) else attributes.get("axes")
    if axes is None or sorted(int(a) % 4 for a in np.asarray(axes).ravel()) != [2, 3]:
        raise UnreadError("it is no mean over rows and columns")
    return Reading(node, Kind.GLOBAL_AVERAGE, (node.input[0],), node.output[0])


@_rule("Add")
def _sum(node: onnx.NodeProto, view: GraphView) -> Reading:
    sizes = {view.sample_sizes(name) for name in (*node.input, node.output[0])}
    if len(sizes) != 1:
        raise UnreadError("it adds arrays of different sizes")
    return Reading(node, Kind.ADD, tuple(node.input), node.output[0])


@_rule("Concat")
def _concatenation(node: onnx.NodeProto, _: GraphView) -> Reading:
    if attributes_of(node).get("axis") not in (1, -3):
        raise UnreadError("it does not join channels")
    return Reading(node, Kind.CONCAT, tuple(node.input), node.output[0])


@_rule("Flatten", "Reshape", "Identity", "Dropout")
def _reshape(node: onnx.NodeProto, view: GraphView) -> Reading:
    before, after = view.sample_sizes(node.input[0]), view.sample_sizes(node.output[0])
    if before != after and (after is None or len(after) != 1):
        raise UnreadError("it rearranges channels, rows and columns")
    if len([name for name in node.output if name]) > 1:
        raise UnreadError("it returns a mask")
    return Reading(node, Kind.RESHAPE, (node.input[0],), node.output[0])


@_rule("Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip")
def _activation(node: onnx.NodeProto, view: GraphView) -> Reading:
    activation = _activation_of(node, view)
    return Reading(node, Kind.ACTIVATE, (node.input[0],), node.output[0], activation=activation)


def _activation_of(node: onnx.NodeProto, view: GraphView) -> Activation:
    if node.op_type == "Relu":
        return RELU
    if node.op_type == "Clip":
        bounds = [view.constant(_input(node, k)) if _input(node, k) else None for k in (1, 2)]
        if any(b is None and _input(node, k) for k, b in zip((1, 2), bounds, strict=True)):
            raise UnreadError("its bounds are computed")
        low, high = (float(b.astype(np.float64)) if b is not None else None for b in bounds)
        return Activation(1, -np.inf if low is None else low, np.inf if high is None else high)
    if node.op_type == "HardSigmoid":
        attributes = attributes_of(node)
        alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
        if not (isinstance(alpha, float) and abs(alpha - 1 / 6) < 1e-6 and beta == 0.5):
            raise UnreadError("its slope is not 1/6")
    return Activation({"Sigmoid": 2, "HardSigmoid": 4, "HardSwish": 5}[node.op_type])


@_rule("Mul")
def _gated(node: onnx.NodeProto, view: GraphView) -> Reading:
    """Read ``x * sigmoid(x)`` and ``x * hard sigmoid(x)``."""
    for value, gate in (tuple(node.input), tuple(reversed(node.input))):
        maker = view.makers.get(gate)
        if maker is None or not is_plain(maker, "Sigmoid", "HardSigmoid"):
            continue
        if maker.input[0] == value:
            kind = 3 if maker.op_type == "Sigmoid" else 5
            _activation_of(maker, view)
            return Reading(
                node, Kind.ACTIVATE, (value,), node.output[0], activation=Activation(kind)
            )
    raise UnreadError("the engine has no products of two values")


@_rule("Pad")
def _padded_channels(node: onnx.NodeProto, view: GraphView) -> Reading:
    """Read zeros before and behind the channels as a convolution that copies."""
    pads = view.constant(_input(node, 1))
    value = view.constant(_input(node, 2)) if _input(node, 2) else None
    before, after = view.sample_sizes(node.input[0]), view.sample_sizes(node.output[0])
    if pads is None or before is None or after is None or _input(node, 3):
        raise UnreadError("its padding is computed")
    if (value is not None and float(value.astype(np.float64)) != 0) or before[1:] != after[1:]:
        raise UnreadError("it does not pad channels with zeros")
    if attributes_of(node).get("mode", b"constant") != b"constant":
        raise UnreadError("it does not pad channels with zeros")
    first = int(pads.ravel()[1])
    copies = np.zeros((after[0], before[0], 1, 1), np.float32)
    for channel in range(before[0]):
        if 0 <= channel + first < after[0]:
            copies[channel + first, channel] = 1
    return Reading(node, Kind.CONVOLUTION, (node.input[0],), node.output[0], made_weight=copies)
