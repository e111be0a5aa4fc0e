"""Graphs as plain documents: node for node, so that what is read back is the very same graph."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from compressc.channels.shapes import Sizes, value_of
from compressc.frontend.operator_names import check_operator
from compressc.store.recorded_shapes import ShapeReader, describe_value

_PLAIN = (bool, int, float, str, type(None))
_ROOTS = {"_operator": operator, "math": math, "torch": torch}
# Which layer a node came from.
_STACK = "nn_module_stack"


def describe_graph(module: fx.GraphModule) -> dict[str, Any]:
    """Return everything about a graph but its tensors, as a document that JSON can hold.

    Raises:
        ValueError: if the graph holds what has no plain form, such as a graph in a graph.
    """
    return {
        "nodes": [_describe_node(node) for node in module.graph.nodes],
        "parameters": [
            [name, tensor.requires_grad]
            for name, tensor in module.named_parameters(remove_duplicate=False)
        ],
    }


def rebuild_graph(
    document: Mapping[str, Any], tensors: Mapping[str, Tensor], like: fx.GraphModule
) -> fx.GraphModule:
    """Return the graph that :func:`describe_graph` described.

    Args:
        document: its description.
        tensors: its parameters and buffers by name, in the order of its state dict.
        like: a graph with the same inputs, whose symbolic sizes are used, and the same form of
            outputs.

    Raises:
        ValueError: if the description makes no sense.
        HandOverError: if it calls something that does not only compute.
    """
    root = _own_tensors(tensors, dict(document["parameters"]))
    graph, made = fx.Graph(), dict[str, fx.Node]()
    graph.set_codegen(like.graph._codegen)
    shapes = ShapeReader(like)
    for entry in document["nodes"]:
        target = entry["target"]
        node = graph.create_node(
            entry["op"],
            _operator(target) if entry["op"] == "call_function" else target,
            _restored(entry["args"], made),
            _restored(entry["kwargs"], made),
            name=entry["name"],
        )
        if entry["stack"] is not None:
            node.meta[_STACK] = {key: tuple(pair) for key, pair in entry["stack"]}
        if entry["value"] is not None:
            node.meta["val"] = shapes.read(entry["value"])
        made[entry["name"]] = node
    graph.lint()
    return fx.GraphModule(root, graph).eval()


def is_same_graph(graph: fx.GraphModule, other: fx.GraphModule) -> bool:
    """Return whether two graphs have the same code, tensors of the same kind, and equal shapes."""
    if graph.code != other.code or _kinds(graph) != _kinds(other):
        return False
    return _shapes(graph) == _shapes(other)


def _kinds(module: fx.GraphModule) -> list[tuple[Any, ...]]:
    tensors = module.state_dict(keep_vars=True)
    return [(name, t.dtype, t.shape, t.requires_grad) for name, t in tensors.items()]


def _shapes(module: fx.GraphModule) -> list[Any]:
    sizes = Sizes()
    return [
        [sizes.shape(x) for x in pytree.tree_leaves(value_of(node)) if isinstance(x, Tensor)]
        for node in module.graph.nodes
        if node.op != "output"
    ]


def _describe_node(node: fx.Node) -> dict[str, Any]:
    stack = node.meta.get(_STACK)
    return {
        "op": node.op,
        "name": node.name,
        "target": _operator_name(node.target) if node.op == "call_function" else str(node.target),
        "args": _plain(node.args),
        "kwargs": _plain(node.kwargs),
        "value": None if node.op == "output" else describe_value(value_of(node)),
        "stack": stack and [[key, [pair[0], _type_name(pair[1])]] for key, pair in stack.items()],
    }


def _type_name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else str(kind)


def _operator_name(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"torch.ops.{target.namespace}.{target._opname}.{target._overloadname}"
    name = f"{target.__module__}.{target.__name__}"
    if name.startswith("torch.ops"):
        raise ValueError(f"{name} holds a graph of its own")
    return name


def _operator(name: str) -> Any:
    first, *rest = check_operator(name).split(".")
    place: Any = _ROOTS[first]
    for part in rest:
        place = getattr(place, part)
    return place


def _plain(value: Any) -> Any:
    """Return an argument as JSON knows it; what it does not know becomes a mapping of one entry."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_plain(part) for part in value]}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {"dict": [[key, _plain(part)] for key, part in value.items()]}
    if isinstance(value, slice):
        return {"slice": [_plain(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, _PLAIN):
        return value
    raise ValueError(f"a {type(value).__name__} among the arguments of a node has no plain form")


def _restored(value: Any, made: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_restored(part, made) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return made[content]
    if kind == "device":
        return torch.device(content)
    if kind == "torch":
        constant = getattr(torch, content)
        if not isinstance(constant, (torch.dtype, torch.layout, torch.memory_format)):
            raise ValueError(f"torch.{content} is no type, layout or format")
        return constant
    if kind == "dict":
        return {key: _restored(part, made) for key, part in content}
    parts = [_restored(part, made) for part in content]
    return tuple(parts) if kind == "tuple" else slice(*parts)


def _own_tensors(tensors: Mapping[str, Tensor], learn: Mapping[str, bool]) -> nn.Module:
    """Return a module with parameters, each learning or not, and buffers under their names."""
    root = nn.Module()
    for path, tensor in tensors.items():
        *parents, leaf = path.split(".")
        owner = root
        for parent in parents:
            if not hasattr(owner, parent):
                owner.add_module(parent, nn.Module())
            owner = getattr(owner, parent)
        if path in learn:
            owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=learn[path]))
        else:
            owner.register_buffer(leaf, tensor)
    return root
