"""Which node of the file a kernel came from: layers and MACs of fused nodes.

ONNX Runtime fuses activations, additions and normalisations into the node before them, moves
convolutions to its own layout, and renames what it makes. A new node is called after the node it
began as, or after the value it ends in; from that every node that multiplies is traced forward to
the kernel that now does its work.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from compressc.runtime.onnx_cost import LayerCost
from compressc.runtime.onnx_macs import NOT_COUNTED, RULES
from compressc.runtime.optimized_graph import Kernel

# Steps from a node to the end of what it was fused with.
_STEPS = 12
_REORDERING = ("com.microsoft.nchwc.ReorderInput", "com.microsoft.nchwc.ReorderOutput")
_ADDED = re.compile(r"(_nchwc|_nhwc|_token_\d+|/nhwc)$")


@dataclass(frozen=True)
class Origin:
    """Where a kernel came from.

    Attributes:
        layer: the node of the file that it does the products of; else the layer before it, or its
            own name where there is none.
        macs: multiply-accumulates of one run, counted on the file's own nodes.
        weight: the stored tensor that its layer multiplies by; empty where there is none.
    """

    layer: str
    macs: int
    weight: str = ""


def trace_origins(
    graph: onnx.GraphProto, layers: Sequence[LayerCost], kernels: Sequence[Kernel]
) -> tuple[dict[str, Origin], int]:
    """Return the origin of every kernel, and the MACs that no kernel could be found for.

    Args:
        graph: of the file, functions inlined.
        layers: its nodes with their MACs, as ``count_cost`` names them.
        kernels: what is executed.
    """
    work = {layer.name: layer.macs for layer in layers if layer.macs}
    by_name = {kernel.name: kernel for kernel in kernels}
    ends: dict[str, Kernel] = {}
    for kernel in kernels:
        if kernel.op not in _REORDERING and _multiplies(kernel):
            # What is left of a convolution in int8 is called after its node, the value is not.
            by_name.setdefault(_original(kernel.name), kernel)
            for value in (_original(kernel.name), *map(_original, kernel.outputs)):
                ends.setdefault(value, kernel)
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for value in node.input:
            readers[value].append(node)
    names: dict[str, str] = {}
    makers: dict[str, str] = {}
    macs: dict[str, int] = defaultdict(int)
    lost = 0
    for node in graph.node:
        label = node.name or next(filter(None, node.output), node.op_type)
        if label not in work:
            continue
        worker = by_name.get(label) or _follow(node, ends, readers)
        if worker is None:
            lost += work[label]
            continue
        names.setdefault(worker.name, label)
        macs[worker.name] += work[label]
    stored = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    weights: dict[str, str] = {}
    for node in graph.node:
        for value in node.output:
            makers[value] = node.name or value
        weight = next((value for value in node.input if value in stored), "")
        weights[node.name or next(filter(None, node.output), node.op_type)] = weight
    return {
        name: Origin(layer, macs.get(name, 0), weights.get(layer, "") if macs.get(name) else "")
        for name, layer in _name_layers(kernels, names, makers).items()
    }, lost


def _follow(
    node: onnx.NodeProto, ends: Mapping[str, Kernel], readers: Mapping[str, list[onnx.NodeProto]]
) -> Kernel | None:
    """Return the kernel that ends in a value behind the node, the nearest first."""
    values = list(node.output)
    for _ in range(_STEPS):
        for value in values:
            if value in ends:
                return ends[value]
        values = [name for value in values for after in readers[value] for name in after.output]
    return None


def _multiplies(kernel: Kernel) -> bool:
    return kernel.op in RULES or kernel.op in NOT_COUNTED or kernel.opaque


def _original(name: str) -> str:
    """Return a name without what ONNX Runtime appended to it."""
    while True:
        shorter = _ADDED.sub("", name)
        if shorter == name:
            return name
        name = shorter


def _name_layers(
    kernels: Sequence[Kernel], names: Mapping[str, str], makers: Mapping[str, str]
) -> dict[str, str]:
    """Name kernels that multiply nothing after the node they were, or the layer they reorder."""
    before = {value: kernel.name for kernel in kernels for value in kernel.outputs}
    layer_of: dict[str, str] = {}
    for kernel in kernels:
        own = names.get(kernel.name)
        if own is None and kernel.op in _REORDERING:
            own = next((layer_of[before[v]] for v in kernel.inputs if v in before), None)
        if own is None:
            plain = _original(kernel.name)
            own = makers.get(plain, plain)
        layer_of[kernel.name] = own
    return layer_of
