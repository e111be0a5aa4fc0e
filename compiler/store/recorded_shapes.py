"""Shapes that capture recorded for the values of a graph, as plain documents.

A size may depend on the batch: then it is a formula over symbols, which is written as text and
checked before it is evaluated again.
"""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch import SymInt, Tensor, fx
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions

from compressc.channels.shapes import value_of
from compressc.frontend.symbolic_grammar import check_expression

_FUNCTIONS = {name: value for name, value in vars(functions).items() if isinstance(value, type)}


def describe_value(value: Any) -> Any:
    """Return type and shape of a recorded value: a tensor, a size, or several in a list.

    Raises:
        ValueError: if it is anything else.
    """
    if value is None:
        return None
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return {"dtype": dtype, "shape": [_describe_size(size) for size in value.shape]}
    if isinstance(value, (list, tuple)):
        return [describe_value(part) for part in value]
    if isinstance(value, (int, SymInt)):
        return {"size": _describe_size(value)}
    raise ValueError(f"a {type(value).__name__} among the values of a graph has no plain form")


def _describe_size(size: int | SymInt) -> int | tuple[str, int | None]:
    """Return a number, or a formula and what it came to on the example inputs."""
    if isinstance(size, int):
        return size
    # Plain str() would turn torch's floor division into another one.
    return sympy.srepr(size.node.expr), size.node.hint


class ShapeReader:
    """Makes fake values of described shapes, over the symbols of another graph.

    Args:
        like: a captured graph with at least one input.
    """

    def __init__(self, like: fx.GraphModule) -> None:
        values = [value_of(node) for node in like.graph.nodes]
        tensors = [x for x in pytree.tree_leaves(values) if isinstance(x, Tensor)]
        self._maker = next(value_of(node) for node in like.graph.nodes if node.op == "placeholder")
        sizes: list[Any] = [size for x in tensors for size in x.shape if not isinstance(size, int)]
        self._environment = sizes[0].node.shape_env if sizes else None
        self._symbols = {s.name: s for size in sizes for s in size.node.expr.free_symbols}

    def read(self, document: Any) -> Any:
        """Return the fake value that :func:`describe_value` described.

        Raises:
            ValueError, KeyError, TypeError: if it makes no sense here.
            HandOverError: if a size is no arithmetic.
        """
        if document is None:
            return None
        if isinstance(document, list):
            return tuple(self.read(part) for part in document)
        if "size" in document:
            return self._size(document["size"])
        dtype = getattr(torch, document["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"torch.{document['dtype']} is no type of numbers")
        return self._maker.new_empty([self._size(size) for size in document["shape"]], dtype=dtype)

    def _size(self, size: int | list[Any]) -> int | SymInt:
        if isinstance(size, int):
            return size
        text, hint = size
        formula = sympy.sympify(check_expression(text), locals=_FUNCTIONS)
        known = {symbol: self._symbols[symbol.name] for symbol in formula.free_symbols}
        if self._environment is None:
            raise ValueError("a size depends on the batch, which is fixed here")
        read: SymInt = self._environment.create_symintnode(formula.xreplace(known), hint=hint)
        return read
