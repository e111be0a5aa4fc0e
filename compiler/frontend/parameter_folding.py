"""Values computed from parameters alone become parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from compressc.operators import is_mutating

aten = torch.ops.aten

# What only moves, copies or looks up elements: coupling follows these, and folding them would hide
# a table behind its much larger expansion.
_MOVES = frozenset(
    """view reshape _unsafe_view permute transpose t numpy_T mT expand expand_as view_as reshape_as
    unsqueeze squeeze flatten unflatten slice narrow select index_select index split
    split_with_sizes chunk unbind getitem cat stack concat contiguous clone detach alias to
    _to_copy type_as pad constant_pad_nd flip roll repeat movedim swapaxes embedding zeros ones full
    zeros_like ones_like new_zeros new_ones arange lift_fresh_copy""".split()
)


def fold_parameters(module: fx.GraphModule) -> None:
    """Given a weight computed from parameters. Result: one plain parameter in its place.

    Weight normalisation, spectral normalisation and weight standardisation are evaluated once. A
    result with more elements than the parameters it comes from (a table made by a small network)
    stays computed.
    """
    graph = module.graph
    tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    parameters = set(tensors)
    tensors.update(module.named_buffers(remove_duplicate=False))
    constant: dict[fx.Node, frozenset[str]] = {}
    for node in graph.nodes:
        names = _origins(node, constant, tensors)
        if names is not None:
            constant[node] = names
    values: dict[fx.Node, Any] = {}
    claimed: set[str] = set()
    for node in [n for n in constant if n.op == "call_function"]:
        if all(user in constant for user in node.users) or not _computes(node, constant):
            continue
        sources = sorted(constant[node] & parameters)
        fake = node.meta.get("val")
        if not sources or not isinstance(fake, Tensor) or not fake.is_floating_point():
            continue
        distinct = {id(tensors[name]): tensors[name] for name in sources}
        if fake.numel() > sum(tensor.numel() for tensor in distinct.values()):
            continue
        value = _evaluate(node, values, tensors)
        name = _same_shape(graph, value, distinct, sources, constant, claimed)
        claimed.add(name or "")
        _replace(module, node, value, name or _free_name(module, sources))
    graph.eliminate_dead_code()
    _drop_unused(module, parameters)


def _origins(
    node: fx.Node, constant: dict[fx.Node, frozenset[str]], tensors: dict[str, Tensor]
) -> frozenset[str] | None:
    """Return the tensors that a constant node is computed from, None if it is not constant."""
    if node.op == "get_attr":
        return frozenset({str(node.target)}) if str(node.target) in tensors else None
    if node.op != "call_function":
        return None
    tags = getattr(node.target, "tags", ())
    if is_mutating(node) or torch.Tag.nondeterministic_seeded in tags:
        return None
    if any(source not in constant for source in node.all_input_nodes):
        return None
    # A buffer or parameter that is written to is no constant.
    if any(is_mutating(user) for source in node.all_input_nodes for user in source.users):
        return None
    return frozenset().union(*(constant[source] for source in node.all_input_nodes))


def _operation(node: fx.Node) -> str:
    name = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", "")
    return str(name)


def _computes(node: fx.Node, constant: Iterable[fx.Node]) -> bool:
    """Return whether anything but moves happens on the way to a constant node."""
    # By hand: the graph changes from one call to the next, and few nodes are on the way.
    known, waiting = set(constant), [node]
    seen: set[fx.Node] = set()
    while waiting:
        current = waiting.pop()
        if current in seen or current not in known:
            continue
        seen.add(current)
        if current.op == "call_function" and _operation(current) not in _MOVES:
            return True
        waiting.extend(current.all_input_nodes)
    return False


def _evaluate(node: fx.Node, values: dict[fx.Node, Any], tensors: dict[str, Tensor]) -> Any:
    if node.op == "get_attr":
        return tensors[str(node.target)].detach()
    if node not in values:
        args = pytree.tree_map_only(
            fx.Node, lambda n: _evaluate(n, values, tensors), (node.args, dict(node.kwargs))
        )
        with torch.no_grad():
            values[node] = node.target(*args[0], **args[1])  # type: ignore[operator]
    return values[node]


def _same_shape(
    graph: fx.Graph,
    value: Tensor,
    distinct: Mapping[int, Tensor],
    sources: Sequence[str],
    constant: Mapping[fx.Node, frozenset[str]],
    claimed: set[str],
) -> str | None:
    """Return a source whose name the result can take: same shape, and nothing else reads it."""
    if len(distinct) < len(sources):
        return None
    shapes = dict(zip(sources, (tensor.shape for tensor in distinct.values()), strict=True))
    for name in sources:
        readers = [n for n in graph.nodes if n.op == "get_attr" and n.target == name]
        # A parametrised weight is called by its layer's name, not by what it was computed from.
        if ".parametrizations." in f".{name}":
            continue
        private = all(user in constant for reader in readers for user in reader.users)
        same = shapes[name] == value.shape
        if private and same and name not in claimed:
            return name
    return None


def _replace(module: fx.GraphModule, node: fx.Node, value: Tensor, name: str) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, nn.Parameter(value.contiguous()))
    with node.graph.inserting_before(node):
        folded = node.graph.get_attr(name)
    folded.meta["val"] = node.meta["val"]
    for user in list(node.users):
        user.replace_input_with(node, folded)


def _free_name(module: fx.GraphModule, sources: list[str]) -> str:
    """Return a name in the layer that the parameters belong to: its weight, where that is free."""
    layer = sources[0].rpartition(".")[0].partition(".parametrizations")[0]
    layer = "" if layer == "parametrizations" else layer
    prefix = f"{layer}." if layer else ""
    owner = module.get_submodule(layer)
    leaf = "weight"
    number = 0
    while hasattr(owner, leaf):
        leaf = "folded_weight" if number == 0 else f"folded_weight_{number}"
        number += 1
    return f"{prefix}{leaf}"


def _drop_unused(module: fx.GraphModule, parameters: set[str]) -> None:
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    kept = {id(dict(module.named_parameters(remove_duplicate=False))[n]) for n in parameters & used}
    for name in parameters - used:
        owner, _, leaf = name.rpartition(".")
        place = module.get_submodule(owner)
        tensor = place._parameters.get(leaf)
        if tensor is not None and id(tensor) not in kept:
            delattr(place, leaf)
