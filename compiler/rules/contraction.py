"""Linear layers and matrix products: the summed axes are coupled, the others pass."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import fx

from compressc.channels.axes import Axes, Axis, join_axes, plain, size_of
from compressc.channels.edits import SetNumber
from compressc.channels.shapes import hinted_shape, value_of
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

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
    inner = hinted_shape(value_of(left_node))[-1]
    site.macs(inner, (*batch, *rows, *columns, channels))
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


@rule(aten.dot.default, aten.inner.default, aten.vdot.default)
def inner_product(site: Site) -> Value:
    """Sums over the last axes."""
    names = ("self", "tensor") if site.node.target is aten.dot.default else ("self", "other")
    left, right = site.axes(names[0]), site.axes(names[1])
    channels = join_axes(site.space, left[-1], right[-1], site.name)
    site.contract(site.arg(names[0]), -1)
    site.contract(site.arg(names[1]), -1)
    site.macs(size_of(left[-1]), (*left[:-1], *right[:-1], channels))
    return (*left[:-1], *right[:-1])


@rule(aten.mv.default)
def matrix_vector(site: Site) -> Value:
    """(n, k) @ (k,)."""
    return _multiply(site, site.arg("self"), site.arg("vec"))


@rule(aten.outer.default, aten.ger.default)
def outer_product(site: Site) -> Value:
    """(n,) and (m,) to (n, m)."""
    return (site.axes("self")[0], site.axes("vec2")[0])


@rule(aten.einsum.default)
def einsum(site: Site) -> Value:
    """Equal letters are coupled; a letter that is missing from the output is summed over."""
    operands = list(site.arg("tensors"))
    axes = [
        operand_axes if (operand_axes := site.axes_of(operand)) is not None else ()
        for operand in operands
    ]
    terms, output = spell_einsum(
        str(site.arg("equation")), [len(operand_axes) for operand_axes in axes]
    )
    letters: dict[str, Axis] = {}
    for term, operand, operand_axes in zip(terms, operands, axes, strict=True):
        if len(set(term)) < len(term):
            site.freeze_all(operand_axes, "takes the diagonal of these axes")
        for position, letter in enumerate(term):
            axis, known = operand_axes[position], letters.get(letter)
            if known is None or size_of(known) == 1:
                letters[letter] = axis
            elif size_of(axis) != 1:
                letters[letter] = join_axes(site.space, known, axis, site.name)
            if letter not in output:
                site.contract(operand, position)
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, size in zip(term, hinted_shape(value_of(operand)), strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    inner = prod(size for letter, size in sizes.items() if letter not in output)
    site.macs(inner if len(operands) > 1 else 0, tuple(letters.values()))
    return tuple(letters[letter] for letter in output)


def spell_einsum(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the terms and the output of an einsum, "..." and a missing output written out.

    Upper-case Greek letters stand for the axes of "...", right-aligned.
    """
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = "ΑΒΓΔΕΖΗΘ"
    widest = 0
    for index, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        if "..." in term:
            width = rank - (len(term) - 3)
            widest = max(widest, width)
            terms[index] = term.replace("...", spare[len(spare) - width :])
    hidden = spare[len(spare) - widest :]
    if arrow:
        return terms, output.replace("...", hidden)
    letters = "".join(terms)
    single = sorted({x for x in letters if letters.count(x) == 1 and x not in hidden})
    return terms, hidden + "".join(single)


@rule(aten.scaled_dot_product_attention.default)
def attention(site: Site) -> Value:
    """Queries and keys (…, tokens, d) share d; values carry their own channels to the output."""
    query, key, value = site.axes("query"), site.axes("key"), site.axes("value")
    inner = join_axes(site.space, query[-1], key[-1], site.name)
    site.contract(site.arg("query"), -1)
    site.contract(site.arg("key"), -1)
    grouped = bool(site.arg("enable_gqa")) and size_of(query[-3]) != size_of(key[-3])
    operands = [query[:-2], key[:-2], value[:-2]]
    if grouped:
        site.freeze_all((query[-3], key[-3], value[-3]), "shares keys among several heads")
        operands = [query[:-2], (*key[:-3], plain(1)), (*value[:-3], plain(1))]
    mask = site.axes_of(site.arg("attn_mask"))
    if mask is not None:
        operands.append(mask[:-2])
        site.freeze_all(mask[-2:], "adds this mask to attention scores")
    batch = broadcast(site, operands)
    site.freeze_all((query[-2], key[-2], value[-2]), "takes a softmax over these tokens")
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
