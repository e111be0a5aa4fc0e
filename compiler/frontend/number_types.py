"""Number types: models in half or double precision are compressed in float32."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressc.errors import HandOverError
from compressc.graphs.trainable import clone_module
from compressc.program import HistoryLine, Program

_OTHER_FLOATS = (torch.bfloat16, torch.float16, torch.float64)
_LARGEST = torch.finfo(torch.float32).max


def in_float32(program: Program) -> Program:
    """Return a program whose floats are all float32, with a note where some were not.

    ONNX Runtime has few kernels for bfloat16 and float64 on a CPU, and float16 is not faster there.
    Weights, inputs, and the types that the graph names are changed; finite numbers too large for
    float32 (masks made of float64's lowest number) become its largest.

    Args:
        program: left as it is; returned itself where everything is float32 already.

    Raises:
        HandOverError: if the graph reads the bits of a float as another type, which float32 has
            others of.
    """
    kinds = _other_types(program)
    if not kinds:
        return program
    module = clone_module(program.graph_module)
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.view.dtype:
            raise HandOverError(
                f"the model computes in {kinds[0]} and reads the bits of its numbers as another "
                "type (view(dtype)); hand over a model that computes in float32"
            )
        node.args = pytree.tree_map(_changed, node.args)
        node.kwargs = pytree.tree_map(_changed, node.kwargs)
        node.meta["val"] = pytree.tree_map(_changed, node.meta.get("val"))
    module.recompile()
    note = f"the model computes in {' and '.join(kinds)}; it was compressed in float32"
    changed = replace(
        program,
        graph_module=module.float(),
        example_inputs=tuple(_changed(tensor) for tensor in program.example_inputs),
        _derived={},
    )
    return changed.with_line(HistoryLine("number types", notes=(note,)))


def _other_types(program: Program) -> list[str]:
    """Return the names of the other float types that weights, inputs or values have."""
    values = [_value(node) for node in program.graph_module.graph.nodes]
    tensors = [*program.state().values(), *program.example_inputs, *pytree.tree_leaves(values)]
    kinds = {x.dtype for x in tensors if isinstance(x, Tensor)}
    return [str(kind).removeprefix("torch.") for kind in _OTHER_FLOATS if kind in kinds]


def _value(node: fx.Node) -> Any:
    return node.meta.get("val")


def _changed(value: Any) -> Any:
    if isinstance(value, torch.dtype) and value in _OTHER_FLOATS:
        return torch.float32
    if isinstance(value, Tensor) and value.dtype in _OTHER_FLOATS:
        return value.to(torch.float32)
    if isinstance(value, float) and math.isfinite(value) and abs(value) > _LARGEST:
        return math.copysign(_LARGEST, value)
    return value
