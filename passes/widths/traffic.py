"""Memory traffic: which groups cost more time than their MACs say.

MACs are not latency: depthwise, early and concatenated layers move many values for few products.
Removing their channels saves more time per MAC than removing others.
"""

from __future__ import annotations

import operator
from math import prod

import numpy as np
import torch
from torch import Tensor, fx

from compressc.array_types import FloatArray, IntArray
from compressc.channels.axes import Axes
from compressc.channels.shapes import hinted_shape, value_of
from compressc.costs import CostBuilder, CostModel
from compressc.coupling.graph import couple
from compressc.program import Program

aten = torch.ops.aten

# Products that a core computes in the time it takes to move one float. Chosen among 8, 16, 24 and
# 32 by kernel times of ONNX Runtime 1.31 on a busy Xeon with AVX-512, one thread: 16 puts
# MobileNetV1 and V2, ResNet-50 and DenseNet-121 within 12 %; ResNet-56 comes out a fifth too fast,
# since a fixed cost per node is not in the sum.
_MACS_PER_VALUE = 16
_LEAST, _MOST = 0.5, 2.0
# A group that takes less than this part of an equal share of the time is a small one.
_SMALL = 0.5
# Share of the time below which groups count alike, so that they can be weighted with it.
_LITTLE = 1e-9

# Fused into the product before them like every operation that torch marks as pointwise.
_FUSED = frozenset(
    {
        aten.batch_norm.default,
        aten.hardswish.default,
        aten.hardswish_.default,
        aten.prelu.default,
    }
)

_Entry = tuple[float, list[IntArray]]


def measure_intensity(program: Program) -> dict[str, float]:
    """Return, for each group that is not pinned, the time its units save per MAC they save.

    Both are shares of the whole model: 1 is average, above 1 is memory-bound. Values are limited
    to 0.5 to 2. A group that takes less than half an equal share of the time is not cut harder
    than those that take more are on average: that would cost accuracy and save nothing.
    """
    coupling = couple(program)
    traffic = _count_values(program)
    kept = np.ones(len(coupling.solution.reason_of), dtype=bool)
    macs = coupling.costs.macs(kept)
    time = macs + _MACS_PER_VALUE * traffic.macs(kept)
    names: list[str] = []
    ratios: list[float] = []
    times: list[float] = []
    for group in coupling.groups:
        if group.pinned is not None:
            continue
        kept[group.classes[0]] = False
        fewer = coupling.costs.macs(kept)
        less = fewer + _MACS_PER_VALUE * traffic.macs(kept)
        kept[group.classes[0]] = True
        saved_macs, saved_time = (macs - fewer) / max(macs, 1.0), (time - less) / max(time, 1.0)
        ratio = saved_time / saved_macs if saved_macs > 0 else _MOST
        names.append(group.name)
        ratios.append(min(max(ratio, _LEAST), _MOST))
        times.append(saved_time * group.size)
    spared = _spare_small(np.array(ratios), np.array(times))
    return dict(zip(names, spared.tolist(), strict=True))


def _spare_small(ratios: FloatArray, times: FloatArray) -> FloatArray:
    """Return the ratios, capped for groups that take less than half an equal share of the time.

    The cap is the mean ratio of the groups that take more, weighted with their time.
    """
    if not len(ratios):
        return ratios
    large = times >= _SMALL * times.mean()
    cap = np.average(ratios[large], weights=np.maximum(times[large], _LITTLE))
    return np.where(large, ratios, np.minimum(ratios, cap))


def _count_values(program: Program) -> CostModel:
    """Return a model whose ``macs`` are the values moved between layers, read and written.

    Weights are not among them: layers that read many weights for few products are fully connected
    ones behind convolutions, whose units are what such a network knows, and cutting them twice as
    hard left nothing that could be repaired (40 of the 256 units of MTCNN's ONet at half the MACs,
    and 24 of 128 channels before them).

    Batch norms, activations and residual sums behind a product are fused into it by the runtime:
    they read only what else they need.
    """
    products = {term.node for term in couple(program).propagation.records.macs}
    fused: set[fx.Node] = set()
    entries: list[_Entry] = []
    for node in program.graph_module.graph.nodes:
        if node.op != "call_function" or not _moves_values(node):
            continue
        sources = [source for source in node.all_input_nodes if _is_moved(source)]
        if node.name in products:
            fused.add(node)
        else:
            before = [source for source in sources if source in fused and _continues(source, node)]
            if before:
                fused.add(node)
                entries.extend(_entry(program, s) for s in sources if s is not before[0])
                continue
        entries.extend(_entry(program, moved) for moved in (node, *sources))
    solution = couple(program).solution
    builder = CostBuilder(solution.class_of, len(solution.reason_of))
    return builder.build(entries, [], [])


def _moves_values(node: fx.Node) -> bool:
    """Return whether a node computes a tensor; views and tuples of views cost nothing."""
    if node.target is operator.getitem or not isinstance(value_of(node), Tensor):
        return False
    arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
    alias = arguments[0].alias_info if arguments else None
    return alias is None or bool(alias.is_write)


def _is_moved(source: fx.Node) -> bool:
    """Return whether reading a value counts: per-channel parameters are too small to matter."""
    value = value_of(source)
    return source.op != "get_attr" and isinstance(value, Tensor) and value.dim() > 1


def _continues(source: fx.Node, node: fx.Node) -> bool:
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    same = hinted_shape(value_of(source)) == hinted_shape(value_of(node))
    return same and len(source.users) == 1 and (pointwise or node.target in _FUSED)


def _entry(program: Program, node: fx.Node) -> _Entry:
    """Return how many values a node's result holds per sample, and the channels they scale with."""
    axes = couple(program).propagation.values.get(node.name)
    labelled: Axes = axes if isinstance(axes, tuple) else ()
    ids = [factor.ids for axis in labelled for factor in axis if factor.ids is not None]
    count = prod(hinted_shape(value_of(node)))
    return count / _batch(program), ids


def _batch(program: Program) -> int:
    for example, axes in zip(program.example_inputs, program.dynamic_axes, strict=False):
        if 0 in axes:
            return int(example.shape[0])
    return 1
