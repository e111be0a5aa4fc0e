"""Names: modules and parameters of the imported network are called as in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from compressc.frontend.onnx_import.graph import Constant, Graph, GraphNode
from compressc.frontend.onnx_import.linear_layers import LINEAR

# What a constant is called after the node that reads it, by operator and input.
_ROLES: Mapping[str, tuple[str, ...]] = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    LINEAR: ("", "weight", "bias"),
    "Gemm": ("weight", "weight", "bias"),
    "MatMul": ("weight", "weight"),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "InstanceNormalization": ("", "weight", "bias"),
    "LayerNormalization": ("", "weight", "bias"),
    "GroupNormalization": ("", "weight", "bias"),
    "PRelu": ("", "weight"),
    "Gather": ("weight",),
}
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-+/ ]")
_STATISTICS = ("running_mean", "running_var")
# The dotted names of PyTorch's modules, as its exporters write them: layer1.0.conv1.weight.
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)*\.[A-Za-z_]\w*")


def attach(root: nn.Module, path: str, value: nn.Module | Tensor) -> str:
    """Put a module or tensor at a dotted path, made unique; return the path it has.

    Parts of a path may hold slashes, as node names do; what ``.pt2`` archives do not carry, such as
    colons, becomes an underscore.
    """
    owner = root
    *parents, leaf = [part or "_" for part in _FOREIGN.sub("_", path).split(".")]
    walked: list[str] = []
    for part in parents:
        while part in owner.__dict__ or not isinstance(
            getattr(owner, part, None), (nn.Module, type(None))
        ):
            part += "_"
        if getattr(owner, part, None) is None:
            owner.add_module(part, nn.Module())
        owner = getattr(owner, part)
        walked.append(part)
    while hasattr(owner, leaf):
        leaf += "_"
    if isinstance(value, nn.Module):
        owner.add_module(leaf, value)
    elif isinstance(value, nn.Parameter):
        owner.register_parameter(leaf, value)
    else:
        owner.register_buffer(leaf, value)
    return ".".join([*walked, leaf])


def name_constants(graph: Graph) -> dict[str, str]:
    """Return what each constant is to be called, by its name in the graph.

    Names like those of PyTorch's modules stay; others, such as ``onnx::Conv_193``, become the name
    of the node that reads them first and what they are to it: ``/conv1/Conv.weight``.
    """
    names: dict[str, str] = {}
    for node in graph.nodes:
        roles = _ROLES.get(node.operator, ())
        for index, name in enumerate(node.inputs):
            if name not in graph.constants or name in names:
                continue
            own = graph.constants[name].source or name
            role = roles[index] if index < len(roles) else ""
            plain = _DOTTED.fullmatch(own) is not None
            names[name] = own if plain else f"{node.name}.{role or 'value'}"
    return names


def is_trained(constant: Constant, node: GraphNode, index: int) -> bool:
    """Return whether a constant is a parameter: learned numbers that are no statistics."""
    array = constant.array
    if not constant.learned or array.dtype.kind != "f" or array.size < 2:
        return False
    roles = _ROLES.get(node.operator, ())
    if index < len(roles) and roles[index] in _STATISTICS:
        return False
    return bool(np.isfinite(array).all())
