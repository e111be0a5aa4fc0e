"""Kept nodes in the ONNX file: exported under a stand-in's name, then put back as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx
import torch
from torch import Tensor, fx

from compressc.errors import ExportError
from compressc.graphs.trainable import clone_module
from compressc.kept_nodes import ONNX_NODE, decode_node, needed_opset
from compressc.program import Program

_DOMAIN = "compressc.kept"
_STAND_IN = "OnnxNode"
_TEXT = "node"


def with_stand_ins(program: Program) -> Program:
    """Return the program with a symbolic ONNX operator in the place of every kept node.

    Given:  compressc::onnx_node(inputs, text).
    Result: torch.onnx.ops.symbolic_multi_out with the text as an attribute.
    """
    if not _kept(program.graph_module.graph):
        return program
    module = clone_module(program.graph_module)
    for node in _kept(module.graph):
        node.target = stand_in
    module.recompile()
    return replace(program, graph_module=module, _derived={})


def stand_in(inputs: Sequence[Tensor], node: str) -> Sequence[Tensor]:
    """Record a kept node for torch's exporter."""
    shaped = decode_node(node).empty_outputs(inputs)
    return torch.onnx.ops.symbolic_multi_out(
        f"{_DOMAIN}::{_STAND_IN}",
        list(inputs),
        attrs={_TEXT: node},
        dtypes=[x.dtype for x in shaped],
        shapes=[tuple(x.shape) for x in shaped],
        version=1,
    )


def is_stand_in(node: fx.Node) -> bool:
    """Return whether a node of a captured or exported graph stands for a kept node."""
    return node.target in (ONNX_NODE, stand_in) or "onnx_symbolic" in str(node.target)


def choose_opset(program: Program, opset: int) -> int:
    """Return the operator set, ``opset`` or newer, in which kept nodes mean what they meant.

    Raises:
        ExportError: if there is none.
    """
    kept_nodes = [decode_node(str(node.args[1])) for node in _kept(program.graph_module.graph)]
    for kept in kept_nodes * 2:
        needed = needed_opset(kept, opset)
        if needed is None:
            raise ExportError(
                f"{kept.operator} is kept from operator set {kept.version} and means something "
                f"else in {opset}; convert the file with onnx.version_converter first"
            )
        opset = needed
    return opset


def put_back(model: onnx.ModelProto) -> None:
    """Put every kept node into the model as it was, in the place of its stand-in."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        if node.domain != _DOMAIN:
            continue
        kept = decode_node(next(a.s.decode() for a in node.attribute if a.name == _TEXT))
        original = kept.node()
        names = ["" for _ in original.input]
        for place, name in zip(kept.places, node.input, strict=True):
            names[place] = name
        fresh = iter(node.output)
        outputs = [next(fresh) if name else "" for name in original.output]
        del original.input[:], original.output[:]
        original.input.extend(names)
        original.output.extend(outputs)
        original.metadata_props.extend(node.metadata_props)
        node.CopyFrom(original)
        domain = "" if original.domain == "ai.onnx" else original.domain
        versions.setdefault(domain, kept.version)
    versions.pop(_DOMAIN, None)
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in versions.items())


def _kept(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.target == ONNX_NODE]
