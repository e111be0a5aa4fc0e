"""Sparse nodes: parts of an ONNX file that the engine runs, with their standard form as fallback.

Each region of a graph becomes one node of the domain ``compressc`` whose definition is a function
of standard operators in the same file. ONNX Runtime and any other runtime that inlines functions
runs the function; where compressc's engine is registered (``compressc.runtime.register``), it
runs the node. Weights with zeros are the node's inputs as a bitmask and the nonzeros, as compact
storage has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import onnx
from onnx import helper, numpy_helper

from compressc.errors import ExportError
from compressc.runtime.engine.library import OPERATOR
from compressc.sparse_graph.fusion import Fused, fuse
from compressc.sparse_graph.graph_view import GraphView
from compressc.sparse_graph.node_reading import Reading, Weight
from compressc.sparse_graph.plan_numbers import Form, Kind, PlanWriter
from compressc.sparse_graph.regions import Region, find_regions, read_graph
from compressc.storage import onnx_unpacking as unpacking
from compressc.storage.weight_encodings import encode

# A bit per weight is worth its node from here on.
_LEAST_ZEROS = 0.06
_LEAST_ELEMENTS = 256


@dataclass(frozen=True)
class SparseFile:
    """A model with sparse nodes.

    Attributes:
        model: the file.
        nodes: how many nodes of the original each sparse node stands for.
        left: nodes that stay with ONNX Runtime, with the reason.
    """

    model: onnx.ModelProto
    nodes: tuple[int, ...]
    left: dict[str, str]


def emit_sparse_nodes(model: onnx.ModelProto) -> SparseFile:
    """Return the model with every part that the engine can run as one node.

    Outputs stay what they are: the functions hold the same nodes.

    Raises:
        ExportError: if the model has functions already, or nothing in it is for the engine.
    """
    if model.functions:
        raise ExportError("the model has functions already; give the dense one")
    view = GraphView(model)
    readings, left = read_graph(view)
    regions = find_regions(view, readings)
    if not regions:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        raise ExportError(f"the sparse engine can run no part of this network ({why})")
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    emitters = [_Emitter(view, region, number, opset) for number, region in enumerate(regions)]
    _rewrite(result, emitters)
    result.functions.extend(emitter.function() for emitter in emitters)
    result.functions.append(unpacking.unpacking_function(unpacking.MASK, opset))
    result.opset_import.add(domain=unpacking.DOMAIN, version=unpacking.DOMAIN_VERSION)
    result.ir_version = max(result.ir_version, unpacking.MIN_IR_VERSION)
    return SparseFile(result, tuple(len(r.readings) for r in regions), left)


def _rewrite(model: onnx.ModelProto, emitters: Sequence[_Emitter]) -> None:
    """Put each sparse node where the last node of its region was."""
    place = {emitter.region.readings[-1].output: emitter for emitter in emitters}
    gone = {reading.output for emitter in emitters for reading in emitter.region.readings}
    nodes = []
    for node in model.graph.node:
        if node.output[0] in place:
            emitter = place[node.output[0]]
            nodes.append(emitter.node())
            known = {tensor.name for tensor in model.graph.initializer}
            model.graph.initializer.extend(t for t in emitter.tensors if t.name not in known)
        elif node.output[0] not in gone:
            nodes.append(node)
    nodes = list(_in_order(nodes))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    used.update(value.name for value in model.graph.output)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    inner = [v for v in model.graph.value_info if v.name not in gone or v.name in used]
    del model.graph.value_info[:]
    model.graph.value_info.extend(inner)


def _in_order(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes such that each value is made before it is read."""
    maker = {
        # An output that nobody wants has no name.
        name: place
        for place, node in enumerate(nodes)
        for name in node.output
        if name
    }
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(nodes)))
    graph.add_edges_from(
        (maker[name], place)
        for place, node in enumerate(nodes)
        for name in node.input
        if name in maker
    )
    try:
        yield from (nodes[place] for place in nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible as error:
        raise ExportError("a sparse node would read its own results") from error


def _without_notes(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a node without what only people read: it would be a fifth of a small file."""
    result = onnx.NodeProto()
    result.CopyFrom(node)
    del result.metadata_props[:]
    result.ClearField("doc_string")
    return result


@dataclass
class _Emitter:
    """Builds the node and the function of one region."""

    view: GraphView
    region: Region
    number: int
    opset: int
    plan: PlanWriter = field(default_factory=PlanWriter)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    unpacking: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inputs.extend(self.region.inputs)
        self.places: dict[str, int] = {}
        for name in self.region.inputs:
            self.places[name] = self._add_tensor(name)
        given = [self.places[name] for name in self.region.inputs]
        for fused in fuse(self.region.readings, self.region.outputs):
            self._add(fused)
        taken = [(self.places[n], len(self._sizes(n)) + 1) for n in self.region.outputs]
        self.numbers = self.plan.numbers(given, taken)

    def node(self) -> onnx.NodeProto:
        """Return the node that stands for the region."""
        node = helper.make_node(
            OPERATOR,
            self.inputs,
            list(self.region.outputs),
            name=f"sparse_graph_{self.number}",
            domain=unpacking.DOMAIN,
            plan=self.numbers,
        )
        node.overload = str(self.number)
        return node

    def function(self) -> onnx.FunctionProto:
        """Return the definition of the node in standard operators."""
        nodes = [
            *self._constants(),
            *self.unpacking,
            *(_without_notes(reading.node) for reading in self.region.readings),
        ]
        function = helper.make_function(
            unpacking.DOMAIN,
            OPERATOR,
            self.inputs,
            list(self.region.outputs),
            nodes,
            [
                helper.make_opsetid("", self.opset),
                helper.make_opsetid(unpacking.DOMAIN, unpacking.DOMAIN_VERSION),
            ],
            ["plan"],
        )
        function.overload = str(self.number)
        return function

    def _constants(self) -> Iterator[onnx.NodeProto]:
        """Yield what the nodes read besides weights and values: bounds, shapes, paddings."""
        known = {*self.weights, *self.inputs}
        for reading in self.region.readings:
            for name in reading.node.input:
                tensor = self.view.initializers.get(name)
                if tensor is None:
                    maker = self.view.makers.get(name)
                    if maker is not None and maker.op_type == "Constant" and name not in known:
                        known.add(name)
                        yield maker
                elif name not in known:
                    known.add(name)
                    yield helper.make_node("Constant", [], [name], value=tensor)

    def _sizes(self, value: str) -> tuple[int, ...]:
        sizes = self.view.sample_sizes(value)
        if sizes is None:
            raise ExportError(f"{value} is no batch of images or vectors")
        return sizes

    def _add_tensor(self, value: str) -> int:
        return self.plan.add_tensor(self._sizes(value))

    def _weight(self, name: str) -> int:
        if not name:
            return -1
        if name not in self.weights:
            self.weights[name] = self._store(self.view.initializers[name])
        return self.weights[name]

    def _made_weight(self, reading: Reading, array: Weight) -> int:
        return self._store(numpy_helper.from_array(array, f"{reading.output}/copies"))

    def _store(self, tensor: onnx.TensorProto) -> int:
        """Make a weight an input of the node: as a mask and its nonzeros, or as it is."""
        array = numpy_helper.to_array(tensor)
        first = len(self.inputs)
        zeros = 1 - np.count_nonzero(array) / max(array.size, 1)
        packed = None
        if array.size >= _LEAST_ELEMENTS and zeros >= _LEAST_ZEROS:
            packed = encode(tensor, "mask", f"s{self.number}/w{len(self.plan.weights)}")
        if packed is None:
            self.tensors.append(tensor)
            self.inputs.append(tensor.name)
            return self.plan.add_weight(Form.DENSE, first, array.size)
        (node,) = packed.nodes
        parts = {part.name: part for part in packed.tensors}
        self.tensors.extend(parts[name] for name in node.input)
        self.inputs.extend(node.input)
        self.unpacking.append(node)
        return self.plan.add_weight(Form.MASK, first, array.size)

    def _add(self, fused: Fused) -> None:
        reading = fused.reading
        numbers: list[int] = []
        if reading.kind is Kind.CONVOLUTION:
            made = reading.made_weight
            weight = (
                self._weight(reading.weight) if made is None else self._made_weight(reading, made)
            )
            numbers = [
                *([1, self.places[fused.residual]] if fused.residual else [0]),
                weight,
                self._weight(reading.bias),
                reading.groups,
                *reading.window.numbers,
                *fused.before.numbers,
                *fused.after.numbers,
            ]
        elif reading.kind is Kind.POOL:
            numbers = [
                *reading.window.numbers,
                int(reading.is_maximum),
                int(reading.counts_padding),
            ]
        elif reading.kind in (Kind.ADD, Kind.ACTIVATE):
            numbers = fused.after.numbers
        output = self._add_tensor(fused.output)
        self.places[fused.output] = output
        self.plan.add(
            reading.kind, [self.places[name] for name in reading.inputs], output, *numbers
        )
