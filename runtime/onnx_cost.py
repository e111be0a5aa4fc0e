"""What an ONNX file costs: MACs, params and bytes, read from the file itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Shapes, actual_batch
from compressc.runtime.onnx_macs import NOT_COUNTED, RULES, NodeView, ShapeUnknownError
from compressc.runtime.onnx_shapes import (
    KnownShapes,
    freeze_inputs,
    infer,
    merged,
    run_for_shapes,
    stripped_copy,
    subgraphs,
)
from compressc.runtime.onnx_weights import Weights, trace_weights
from compressc.runtime.session import check_file

_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_KNOWN_DOMAINS = frozenset({"com.microsoft", "com.microsoft.nchwc", "ai.onnx.ml"})


@dataclass(frozen=True)
class LayerCost:
    """One node of the file.

    Attributes:
        name: the node's name, or its first output's where it has none.
        op: ``Conv``; with its domain outside the standard one.
        macs: multiply-accumulates of one run at the batch that was asked for.
        params: stored weights it uses that no earlier node used.
        output_shape: of its first output; None if unknown.
    """

    name: str
    op: str
    macs: int
    params: int
    output_shape: tuple[int, ...] | None


@dataclass(frozen=True)
class OnnxCost:
    """What an ONNX model costs.

    Attributes:
        macs: multiply-accumulates of one run over the whole batch; those that were counted.
        params: stored weights; :mod:`compressc.runtime.onnx_weights` says which tensors count.
        size_bytes: the file with its external weights, or the serialised model.
        batch: the batch it was counted at: the one asked for unless the inputs fix another.
        layers: the nodes that run, in order. Nodes that only compute on stored tensors are not
            among them: runtimes do that once, while loading. Functions of the model are counted
            through their bodies, once per call; of an If the branch with more MACs; a Loop as
            often as its constant trip count says.
        uncounted: what could not be counted, and why; empty when the numbers are complete.
    """

    macs: int
    params: int
    size_bytes: int
    batch: int
    layers: tuple[LayerCost, ...]
    uncounted: tuple[str, ...]

    @property
    def macs_per_item(self) -> int | None:
        """MACs of one item of the batch; None where some could not be counted."""
        return None if self.uncounted else round(self.macs / self.batch)


def count_cost(
    model: onnx.ModelProto | str | Path, batch: int = 1, shapes: Shapes | None = None
) -> OnnxCost:
    """Count MACs and params of an ONNX model without changing it.

    Args:
        model: a path, or a model in memory.
        batch: size of symbolic first axes.
        shapes: sizes of other symbolic axes, see :func:`compressc.runtime.inputs.resolve_shapes`.

    Raises:
        RuntimeFailure: if the file cannot be read, holds no ONNX model, is inconsistent, or the
            shapes do not fit it.
    """
    if isinstance(model, onnx.ModelProto):
        name, folder, size_bytes = "model", None, model.ByteSize()
    else:
        path = Path(model)
        name, folder = str(path), path.resolve().parent
        model = load_model(path)
        size_bytes = path.stat().st_size + _external_bytes(model, folder)
    light = stripped_copy(model)
    fed = freeze_inputs(light, batch, shapes)
    light = infer(light, name)
    counter, counted = _count(light, name, {})
    remarks = list(counted.uncounted)
    if counted.missing:
        try:
            run_shapes = run_for_shapes(model, counted.missing, name, batch, shapes, folder)
        except RuntimeFailure as error:
            remarks.append(f"shapes stay unknown ({error})")
        else:
            counter, counted = _count(light, name, run_shapes)
            remarks = list(counted.uncounted)
    return OnnxCost(
        macs=sum(layer.macs for layer in counted.layers),
        params=counter.weights.params,
        size_bytes=size_bytes,
        batch=actual_batch(fed),
        layers=tuple(counted.layers),
        uncounted=tuple(dict.fromkeys(remarks)),
    )


def load_model(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX file without its external weights.

    Raises:
        RuntimeFailure: if the file is missing or holds no ONNX model.
    """
    check_file(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise RuntimeFailure(
            f"{path}: not a readable ONNX file (truncated, damaged, or of another format); "
            "export or download it again"
        ) from error
    # Protobuf reads some files that are no models as models without content.
    if not model.ir_version or not model.HasField("graph"):
        raise RuntimeFailure(f"{path}: holds no ONNX graph; export or download it again")
    return model


def file_bytes(path: str | Path) -> int:
    """Return the size of an ONNX file, with its external weights if it can be read as ONNX.

    Raises:
        RuntimeFailure: if there is no such file.
    """
    path = Path(path)
    check_file(path)
    try:
        external = _external_bytes(load_model(path), path.resolve().parent)
    except RuntimeFailure:
        external = 0
    return path.stat().st_size + external


def _external_bytes(model: onnx.ModelProto, folder: Path) -> int:
    tensors = list(model.graph.initializer)
    for sparse in model.graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    names = {
        entry.value
        for tensor in tensors
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = (folder / name for name in names)
    return sum(file.stat().st_size for file in files if file.is_file())


@dataclass
class _Counted:
    """The outcome of one graph; ``missing`` names values whose shape would have been needed."""

    layers: list[LayerCost] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


@dataclass
class _Counter:
    """Walks the graphs of a model; every stored tensor goes to the first node that uses it."""

    weights: Weights
    claimed: set[int] = field(default_factory=set)

    def count(self, graph: onnx.GraphProto, path: str, outer: KnownShapes) -> _Counted:
        shapes = merged(outer, graph)
        counted = _Counted()
        constants = _small_constants(graph)
        for index, node in enumerate(graph.node):
            if (path, index) in self.weights.folded:
                continue
            params = self.weights.claim((path, index), self.claimed)
            view = _view(node, shapes)
            macs = self._count_node(view, path, counted)
            name = node.name or next(filter(None, node.output), node.op_type)
            shape = shapes.get(node.output[0]) if node.output else None
            counted.layers.append(LayerCost(name, view.op, macs, params, shape))
            inner = [
                self.count(subgraph, f"{path}/{index}.{attribute}", shapes)
                for attribute, subgraph in subgraphs(node)
            ]
            if inner:
                self._add_inner(node, name, inner, constants, shapes, counted)
        return counted

    def _count_node(self, view: NodeView, path: str, counted: _Counted) -> int:
        name = view.outputs[0] if view.outputs else view.op
        count = RULES.get(view.op)
        if count is None:
            domain = view.op.rpartition(".")[0]
            if view.op in NOT_COUNTED or (domain and domain not in _KNOWN_DOMAINS):
                counted.uncounted.append(f"the MACs of {view.op} at '{name}' are not counted")
            return 0
        try:
            return count(view)
        except ShapeUnknownError as unknown:
            value = str(unknown)
            if not path:
                named = (*view.inputs, *view.outputs)
                counted.missing |= {
                    operand for operand in named if operand and operand not in view.shapes
                }
            counted.uncounted.append(
                f"the MACs of {view.op} at '{name}' are not counted: the shape of '{value}' is "
                "unknown"
            )
        except (KeyError, IndexError, ValueError):
            counted.uncounted.append(
                f"the MACs of {view.op} at '{name}' are not counted: its attributes or shapes are "
                "not those of the operator"
            )
        return 0

    def _add_inner(
        self,
        node: onnx.NodeProto,
        name: str,
        inner: list[_Counted],
        constants: dict[str, int],
        shapes: KnownShapes,
        counted: _Counted,
    ) -> None:
        for part in inner:
            counted.uncounted += part.uncounted
        chosen = max(inner, key=lambda part: part.macs)
        times: int | None = 1
        if node.op_type == "Loop":
            times = constants.get(node.input[0])
        elif node.op_type == "Scan":
            times = _scan_length(node, shapes)
        if times is None:
            times = 1
            if chosen.macs:
                counted.uncounted.append(
                    f"how often the body of {node.op_type} '{name}' runs is unknown: counted once"
                )
        for layer in chosen.layers:
            counted.layers.append(
                LayerCost(
                    layer.name, layer.op, layer.macs * times, layer.params, layer.output_shape
                )
            )


def _count(model: onnx.ModelProto, name: str, known: KnownShapes) -> tuple[_Counter, _Counted]:
    try:
        counter = _Counter(trace_weights(model.graph))
        return counter, counter.count(model.graph, "", known)
    except (IndexError, KeyError) as error:
        raise RuntimeFailure(
            f"{name}: a node lacks an input, output or attribute that its operator must have; "
            "check the file with onnx.checker"
        ) from error


def _view(node: onnx.NodeProto, shapes: KnownShapes) -> NodeView:
    domain = "" if node.domain in _STANDARD_DOMAINS else f"{node.domain}."
    attributes = {}
    if domain + node.op_type in RULES:
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return NodeView(
        domain + node.op_type, tuple(node.input), tuple(node.output), shapes, attributes
    )


def _small_constants(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the whole numbers stored in a graph, by name: trip counts among them."""
    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    tensors += [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    return {
        name: int(onnx.numpy_helper.to_array(tensor).item())
        for name, tensor in tensors
        if tensor.data_type == onnx.TensorProto.INT64
        and sum(tensor.dims) <= 1
        and all(tensor.dims)
        and not tensor.external_data
    }


def _scan_length(node: onnx.NodeProto, shapes: KnownShapes) -> int | None:
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.name != "body"}
    scanned = int(given["num_scan_inputs"])
    shape = shapes.get(node.input[len(node.input) - scanned])
    axes = given.get("scan_input_axes") or [0]
    return None if shape is None else shape[axes[0]]
