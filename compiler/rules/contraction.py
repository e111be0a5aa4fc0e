"""Linear layers and matrix products: the summed axes are coupled, the others pass."""

from __future__ import annotations

from math import sqrt

import torch
from torch import fx

from compressc.axes import Axes, Axis, join_axes, plain, size_of
from compressc.edits import SetNumber
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import Site, Value, rule
from compressc.shapes import value_of

aten = torch.ops.aten


@rule(aten.linear.default)
def linear(site: Site) -> Value:
    """Weight (out, in)."""
    x, weight = site.axes("input"), site.axes("weight")
    channels = join_axes(site.space, x[-1], weight[-1], site.name)
    site.contract(site.arg("input"), -1)
    site.contract(site.arg("weight"), -1)
    if len(weight) == 1:
        site.macs(size_of(weight[-1]), (channels,))
        return x[:-1]
    out = weight[0]
    bias = site.axes_of(site.arg("bias"))
    if bias is not None:
        out = join_axes(site.space, out, bias[0], site.name)
    site.macs(size_of(weight[-1]), (*x[:-1], weight[0], channels))
    return (*x[:-1], out)


def _multiply(site: Site, left_node: fx.Node, right_node: fx.Node) -> Axes:
    left, right = site.axes_of(left_node), site.axes_of(right_node)
    if left is None or right is None:
        raise TypeError(f"{site.name} multiplies values that are no tensors")
    inner_right = -2 if len(right) > 1 else -1
    channels = join_axes(site.space, left[-1], right[inner_right], site.name)
    site.contract(left_node, -1)
    site.contract(right_node, inner_right)
    rows: Axes = left[-2:-1] if len(left) > 1 else ()
    columns: Axes = right[-1:] if len(right) > 1 else ()
    batch = broadcast(site, [left[:-2], right[:-2]])
    site.macs(size_of(left[-1]), (*batch, *rows, *columns, channels))
    return (*batch, *rows, *columns)


@rule(aten.matmul.default)
def matmul(site: Site) -> Value:
    """(…, n, k) @ (…, k, m)."""
    return _multiply(site, site.arg("self"), site.arg("other"))


@rule(aten.mm.default, aten.bmm.default)
def matrix_multiply(site: Site) -> Value:
    """(b, n, k) @ (b, k, m)."""
    return _multiply(site, site.arg("self"), site.arg("mat2"))


@rule(aten.addmm.default)
def add_matrix_multiply(site: Site) -> Value:
    """``self + mat1 @ mat2``."""
    product = _multiply(site, site.arg("mat1"), site.arg("mat2"))
    return broadcast(site, [site.axes("self"), product])


@rule(aten.baddbmm.default)
def batch_add_matrix_multiply(site: Site) -> Value:
    """``self + batch1 @ batch2``."""
    product = _multiply(site, site.arg("batch1"), site.arg("batch2"))
    return broadcast(site, [site.axes("self"), product])


@rule(aten.einsum.default)
def einsum(site: Site) -> Value:
    """Equal letters are coupled; a letter that is missing from the output is summed over."""
    equation = str(site.arg("equation")).replace(" ", "")
    operands = list(site.arg("tensors"))
    axes = [site.axes_of(operand) for operand in operands]
    if "->" not in equation or "." in equation or any(a is None for a in axes):
        for found in axes:
            site.freeze_all(found or (), "is an einsum written without output or with '...'")
        return site.plain_output()
    terms, output = equation.split("->")
    letters: dict[str, Axis] = {}
    for term, operand, found in zip(terms.split(","), operands, axes, strict=True):
        for position, letter in enumerate(term):
            axis = (found or ())[position]
            known = letters.get(letter)
            if known is None or size_of(known) == 1:
                letters[letter] = axis
            elif size_of(axis) != 1:
                letters[letter] = join_axes(site.space, known, axis, site.name)
            if letter not in output:
                site.contract(operand, position)
    inner = 1
    for letter, axis in letters.items():
        inner *= 1 if letter in output else size_of(axis)
    site.macs(inner if len(operands) > 1 else 0, tuple(letters.values()))
    return tuple(letters[letter] for letter in output)


@rule(aten.scaled_dot_product_attention.default)
def attention(site: Site) -> Value:
    """Queries and keys (…, tokens, d) share d; values carry their own channels to the output."""
    query, key, value = site.axes("query"), site.axes("key"), site.axes("value")
    inner = join_axes(site.space, query[-1], key[-1], site.name)
    site.contract(site.arg("query"), -1)
    site.contract(site.arg("key"), -1)
    batch = broadcast(site, [query[:-2], key[:-2], value[:-2]])
    site.freeze_all((query[-2], key[-2], value[-2]), "takes a softmax over these tokens")
    mask = site.axes_of(site.arg("attn_mask"))
    if mask is not None:
        site.freeze_all(mask, "adds this mask to attention scores")
    width = size_of(query[-1])
    tokens = value_of(site.arg("key")).shape[-2]
    scores = value_of(site.arg("query")).new_empty(
        (*value_of(site.node).shape[:-2], value_of(site.arg("query")).shape[-2], tokens)
    )
    site.macs(width, (*batch, inner), output=scores)
    site.macs(size_of(value[-1]), (*batch, value[-1]), output=scores)
    if site.arg("scale") is None:
        site.edit(SetNumber(site.node.name, 6, "scale", 1.0 / sqrt(width)))
    tail = plain(site.shape()[-2])
    return (*batch, tail, value[-1])
