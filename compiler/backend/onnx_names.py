"""Names in the ONNX file: the words of the original model."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor

from compressc.frontend.onnx_import.network import OnnxNode
from compressc.program import Program

_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_IMPORTED = f"{OnnxNode.__module__}.{OnnxNode.__qualname__}"
_NAMESPACE = "namespace"
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def name_like_modules(model: onnx.ModelProto, program: Program) -> None:
    """Rename nodes, initializers and dynamic axes after the original model, in place.

    A node becomes ``<module path>/<operator>``, made unique with a number, and keeps the path as
    metadata ``namespace`` with slashes, as model browsers expect it. Nodes of an imported ONNX file
    are called as they were there.
    """
    _name_axes(model.graph, program)
    state = program.state()
    _name_transposed(model.graph, state)
    _name_folded_biases(model.graph)
    _name_nodes(model.graph, set(state), _imported_readers(program))


def _imported_readers(program: Program) -> dict[str, str]:
    """Return, by parameter, the node of an imported ONNX file that reads it first."""
    readers: dict[str, str] = {}
    for node in program.graph_module.graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if stack and str(stack[-1][1]) == _IMPORTED:
            for source in node.all_input_nodes:
                if source.op == "get_attr":
                    readers.setdefault(str(source.target), str(stack[-1][0]))
    return readers


def _name_nodes(graph: onnx.GraphProto, parameters: set[str], imported: Mapping[str, str]) -> None:
    scopes = [_scope(node, parameters) for node in graph.node]
    bases = [
        _name_in_file(node, imported) or (f"{scope}/{node.op_type}" if scope else node.op_type)
        for node, scope in zip(graph.node, scopes, strict=True)
    ]
    given: set[str] = set()
    reserved = set(bases)
    numbers: dict[str, int] = {}
    for node, scope, base in zip(graph.node, scopes, bases, strict=True):
        name = base
        while name in given or (name != base and name in reserved):
            numbers[base] = numbers.get(base, 0) + 1
            name = f"{base}_{numbers[base]}"
        given.add(name)
        node.name = name
        del node.metadata_props[:]
        node.ClearField("doc_string")
        if scope:
            node.metadata_props.add(key=_NAMESPACE, value=scope.replace(".", "/"))


def _name_in_file(node: onnx.NodeProto, imported: Mapping[str, str]) -> str:
    """Return the name that a node has in the file that was imported, "" where there is none."""
    if node.op_type in _WEIGHTED and len(node.input) > 1:
        reader = imported.get(node.input[1].removesuffix(".T"))
        if reader is not None:
            return reader
    given = {prop.key: prop.value for prop in node.metadata_props}
    classes = ast.literal_eval(given.get(_CLASSES, "[]"))
    if len(classes) < 2 or classes[-2] != _IMPORTED:
        return ""
    return str(ast.literal_eval(given[_SCOPES])[-2])


def _scope(node: onnx.NodeProto, parameters: set[str]) -> str:
    # A batch norm folded into a convolution leaves its own scope on the node, so a layer is
    # called after its weight.
    if node.op_type in _WEIGHTED and len(node.input) > 1:
        owner: str = node.input[1].removesuffix(".T")
        if owner in parameters:
            return owner.rpartition(".")[0]
    for prop in node.metadata_props:
        if prop.key == _SCOPES:
            scopes = ast.literal_eval(prop.value)
            # The last entry is the traced operation itself.
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def _name_transposed(graph: onnx.GraphProto, state: Mapping[str, Tensor]) -> None:
    """Call a parameter that the exporter stored transposed ``<its name>.T``."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, value in state.items():
        if value.dim() == 2:
            by_shape.setdefault(tuple(value.shape[::-1]), []).append(name)
    taken = {tensor.name for tensor in graph.initializer}
    taken.update(name for node in graph.node for name in node.output)
    fixed = {value.name for value in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name in state or tensor.name in fixed or tuple(tensor.dims) not in by_shape:
            continue
        array = numpy_helper.to_array(tensor)
        for name in by_shape[tuple(tensor.dims)]:
            transposed = state[name].detach().cpu().numpy().T
            if f"{name}.T" not in taken and np.array_equal(transposed, array):
                renamed[tensor.name] = f"{name}.T"
                taken.add(f"{name}.T")
                tensor.name = f"{name}.T"
                break
    _rename_reads(graph, renamed)


def _name_folded_biases(graph: onnx.GraphProto) -> None:
    """Call the bias that a folded batch norm left ``<layer>.bias``, as if the layer had one."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    taken = {*constants, *(value.name for value in (*graph.input, *graph.output))}
    taken.update(name for node in graph.node for name in node.output)
    renamed: dict[str, str] = {}
    for node in graph.node:
        if len(node.input) != 3 or node.input[2] != f"{node.input[1]}_bias":
            continue
        bias = node.input[1].removesuffix("weight") + "bias"
        if node.input[2] in constants and bias not in taken:
            renamed[node.input[2]] = bias
            constants[node.input[2]].name = bias
            taken.add(bias)
    _rename_reads(graph, renamed)


def _rename_reads(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                _rename_reads(subgraph, renamed)
    for info in graph.value_info:
        info.name = renamed.get(info.name, info.name)


def _name_axes(graph: onnx.GraphProto, program: Program) -> None:
    """Replace the tracer's symbols (s77, also inside 2*s77) with the program's axis names."""
    readable: dict[str, str] = {}
    for value, axes in zip(graph.input, program.dynamic_axes, strict=True):
        for axis, name in axes.items():
            symbol = value.type.tensor_type.shape.dim[axis].dim_param
            if symbol:
                readable[symbol] = name
    if not readable:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, readable)) + r")\b")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = pattern.sub(lambda match: readable[match[0]], dim.dim_param)
