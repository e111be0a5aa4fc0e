"""Model-local functions: checked for cycles and size, then inlined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import inliner

from compressc.error_text import quote_error
from compressc.errors import HandOverError

# Far above any network; functions that call others twice each grow exponentially.
_MAX_NODES = 200_000

_Key = tuple[str, str, str]


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every call of its own functions replaced by their nodes.

    Raises:
        HandOverError: if functions call themselves, or would become unreasonably many nodes.
    """
    if not model.functions:
        return model
    functions = {_key(function): function for function in model.functions}
    sizes: dict[_Key, int] = {}
    total = sum(_size(node, functions, sizes, ()) for node in _walk(model.graph.node))
    if total > _MAX_NODES:
        raise HandOverError(
            f"its functions stand for {total} nodes; more than {_MAX_NODES} are not read"
        )
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise HandOverError(
            f"its functions cannot be inlined ({quote_error(error)}); export it again"
        ) from error


def _key(item: onnx.FunctionProto | onnx.NodeProto) -> _Key:
    name = item.op_type if isinstance(item, onnx.NodeProto) else item.name
    return item.domain, name, item.overload


def _size(
    node: onnx.NodeProto,
    functions: Mapping[_Key, onnx.FunctionProto],
    sizes: dict[_Key, int],
    inside: tuple[_Key, ...],
) -> int:
    """Return how many nodes a node becomes."""
    key = _key(node)
    if key not in functions:
        return 1
    if key in inside:
        raise HandOverError(
            f"its function '{key[1]}' (domain {key[0]}) calls itself; the file is damaged"
        )
    if key not in sizes:
        called = _walk(functions[key].node)
        sizes[key] = sum(_size(inner, functions, sizes, (*inside, key)) for inner in called)
    return sizes[key]


def _walk(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _walk(graph.node)
