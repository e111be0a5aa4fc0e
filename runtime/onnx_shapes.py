"""Shapes of every value of an ONNX model at a given batch.

``onnx.shape_inference`` finds them; where it cannot (operators it does not know, sizes computed
from data), the model is run once and the shapes are read off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference

from compressc.runtime.engine.library import OPERATOR
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Dims, Shapes, make_inputs, resolve_shapes
from compressc.runtime.packed_weights import restore_packed
from compressc.runtime.session import create_session, run_session

KnownShapes = dict[str, tuple[int, ...]]

# Larger tensors are weights; smaller ones may be the shape of something.
_DATA_KEPT_BELOW = 4096
_ONCE = "compressc-constant-of-function:"


def stripped_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without its large initializers' data, and with its functions inlined.

    Constants inside functions are stamped, so that two calls of one function are known to share
    them: see :func:`shared_constant`.
    """
    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    for function in light.functions:
        for number, node in enumerate(function.node):
            if node.op_type == "Constant":
                stamp = f"{function.domain}:{function.name}:{function.overload}:{number}"
                node.doc_string = _ONCE + stamp
    graph = light.graph
    graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _DATA_KEPT_BELOW and not tensor.external_data:
            graph.initializer.append(tensor)
        else:
            graph.initializer.add(
                name=tensor.name, dims=list(tensor.dims), data_type=tensor.data_type
            )
    light = _inline_sparse_nodes(light)
    restore_packed(light.graph)
    return onnx.inliner.inline_local_functions(light) if light.functions else light


def _inline_sparse_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the nodes that sparse nodes stand for; their weights stay packed."""
    sparse = [(f.domain, f.name) for f in model.functions if f.name == OPERATOR]
    return onnx.inliner.inline_selected_functions(model, sparse) if sparse else model


def shared_constant(node: onnx.NodeProto) -> str | None:
    """Return what a Constant node shares with its copies from other calls of a function."""
    return node.doc_string if node.doc_string.startswith(_ONCE) else None


def freeze_inputs(model: onnx.ModelProto, batch: int, overrides: Shapes | None) -> KnownShapes:
    """Write concrete sizes into the inputs of ``model``, in place, and return them.

    Shapes noted for other values are dropped: they are inferred anew.

    Raises:
        RuntimeFailure: if an override does not fit.
    """
    graph = model.graph
    initialized = {tensor.name for tensor in graph.initializer}
    fed = [value for value in graph.input if value.name not in initialized]
    shapes = resolve_shapes({value.name: _dims(value) for value in fed}, batch, overrides)
    for value in fed:
        if value.type.HasField("tensor_type"):
            kind = value.type.tensor_type.elem_type
            frozen = onnx.helper.make_tensor_value_info(value.name, kind, shapes[value.name])
            value.CopyFrom(frozen)
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return shapes


def infer(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return the model with the shapes of its values filled in, as far as onnx knows.

    Raises:
        RuntimeFailure: if inference fails, as it does on an inconsistent model.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise RuntimeFailure(
            f"{name}: its shapes cannot be inferred ({detail}); check it with onnx.checker"
        ) from error


def known_shapes(graph: onnx.GraphProto) -> KnownShapes:
    """Return the shapes a graph states, of inputs, values, outputs and initializers."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes |= {sparse.values.name: tuple(sparse.dims) for sparse in graph.sparse_initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = _dims(value)
            sizes = tuple(axis for axis in dims if isinstance(axis, int))
            if len(sizes) == len(dims):
                shapes[value.name] = sizes
    return shapes


def run_for_shapes(
    model: onnx.ModelProto,
    missing: set[str],
    name: str,
    batch: int,
    overrides: Shapes | None,
    folder: Path | None,
) -> KnownShapes:
    """Run the whole model once and return the shapes of the values named.

    Args:
        model: the model with its data; not changed.
        missing: values of the outermost graph, functions inlined.
        name: what errors call the model.
        batch: as for the inference.
        overrides: as for the inference.
        folder: where external weights lie.

    Raises:
        RuntimeFailure: if the model cannot be run here.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(onnx.inliner.inline_local_functions(model) if model.functions else model)
    present = {value.name for value in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=n) for n in sorted(missing - present))
    names = sorted(missing)
    session = create_session(whole.SerializeToString(), name, optimize=False, folder=folder)
    feeds = make_inputs(session, batch, overrides=overrides)
    arrays = run_session(session, feeds, name, names)
    return {n: array.shape for n, array in zip(names, arrays, strict=True) if _is_array(array)}


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Yield the graphs a node carries in its attributes, with the attribute's name."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g


def merged(outer: Mapping[str, tuple[int, ...]], graph: onnx.GraphProto) -> KnownShapes:
    """Return the shapes visible inside a subgraph: its own before those around it."""
    return {**outer, **known_shapes(graph)}


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _dims(value: onnx.ValueInfoProto) -> Dims:
    dims: list[int | str | None] = []
    for axis in value.type.tensor_type.shape.dim:
        if axis.HasField("dim_value") and axis.dim_value >= 0:
            dims.append(axis.dim_value)
        else:
            dims.append(axis.dim_param or None)
    return tuple(dims)
