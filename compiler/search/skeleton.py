"""Skeleton: a program's graph with the least that building candidates needs; it can travel.

Fake tensors with symbolic sizes make lowering slow (a millisecond each) and cannot be pickled.
Candidates are only run, never coupled again, so plain shapes do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressc.channels.shapes import hinted_shape
from compressc.graphs.trainable import copy_graph
from compressc.program import Program
from compressc.rules.propagation import named_tensors


def strip_program(program: Program) -> fx.GraphModule:
    """Return the program's graph with plain shapes, over the same parameters and buffers."""
    graph = copy_graph(program.graph_module)
    for node in graph.nodes:
        value = node.meta.get("val")
        node.meta = {}
        if isinstance(value, Tensor):
            node.meta["val"] = torch.empty(hinted_shape(value), dtype=value.dtype, device="meta")
    return fx.GraphModule(program.graph_module, graph)


@dataclass(frozen=True)
class _Reference:
    """Stands for a node among the arguments of another."""

    name: str


@dataclass(frozen=True)
class _Operator:
    """Stands for an operator of torch, which has no pickled form."""

    namespace: str
    name: str
    overload: str

    def resolve(self) -> Any:
        return getattr(getattr(getattr(torch.ops, self.namespace), self.name), self.overload)


@dataclass(frozen=True)
class _Node:
    op: str
    name: str
    target: Any
    args: Any
    kwargs: Any
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The picklable form of a stripped graph."""

    nodes: tuple[_Node, ...]
    tensors: dict[str, Tensor]
    codegen: Any

    def build(self) -> fx.GraphModule:
        """Return the stripped graph module; node names are what they were."""
        graph, made = fx.Graph(), dict[str, fx.Node]()
        graph.set_codegen(self.codegen)
        for entry in self.nodes:
            target = entry.target
            node = graph.create_node(
                entry.op,
                target.resolve() if isinstance(target, _Operator) else target,
                _restored(entry.args, made),
                _restored(entry.kwargs, made),
                name=entry.name,
            )
            assert node.name == entry.name or entry.op == "output"
            if entry.shape is not None:
                node.meta["val"] = torch.empty(entry.shape, dtype=entry.dtype, device="meta")
            made[entry.name] = node
        return fx.GraphModule(dict(self.tensors), graph).eval()


def pack_skeleton(module: fx.GraphModule) -> Skeleton:
    """Return the picklable form of what :func:`strip_program` returned."""
    nodes = []
    for node in module.graph.nodes:
        value = node.meta.get("val")
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            namespace, _, name = target._schema.name.partition("::")
            target = _Operator(namespace, name, target._overloadname)
        nodes.append(
            _Node(
                node.op,
                node.name,
                target,
                _referring(node.args),
                _referring(node.kwargs),
                None if value is None else tuple(value.shape),
                None if value is None else value.dtype,
            )
        )
    return Skeleton(tuple(nodes), named_tensors(module), module.graph._codegen)


def _referring(argument: Any) -> Any:
    # torch's types allow a node to become nothing but another argument of its own.
    refer: Callable[[fx.Node], Any] = _refer
    return fx.map_arg(argument, refer)


def _refer(node: fx.Node) -> _Reference:
    return _Reference(node.name)


def _restored(argument: Any, made: dict[str, fx.Node]) -> Any:
    if isinstance(argument, _Reference):
        return made[argument.name]
    if isinstance(argument, (tuple, list)):
        return type(argument)(_restored(part, made) for part in argument)
    if isinstance(argument, dict):
        return {key: _restored(part, made) for key, part in argument.items()}
    if isinstance(argument, slice):
        return slice(*(_restored(p, made) for p in (argument.start, argument.stop, argument.step)))
    return argument
