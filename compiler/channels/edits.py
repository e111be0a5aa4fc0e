"""How a node's baked sizes change when channels leave.

Rules register edits beside the coupling they belong to, so that the two cannot drift apart.
Lowering applies them to a copy of the graph. An edit names its node, so it can travel between
processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import fx

from compressc.array_types import IntArray
from compressc.channels.axes import Axis
from compressc.channels.kept import Kept

aten = torch.ops.aten


class Edit(Protocol):
    """A change to one node."""

    @property
    def node(self) -> str:
        """Name of the node."""
        ...

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Change the node in place."""
        ...


def _set(node: fx.Node, index: int, name: str, value: Any) -> None:
    """Set an argument by position, or by name where it was or would have to be a keyword."""
    if name in node.kwargs or index > len(node.args):
        node.update_kwarg(name, value)
    elif index == len(node.args):
        node.args = (*node.args, value)
    else:
        node.update_arg(index, value)


def _get(node: fx.Node, index: int, name: str, default: Any = None) -> Any:
    return node.args[index] if index < len(node.args) else node.kwargs.get(name, default)


@dataclass(frozen=True, eq=False)
class SetCount:
    """Given a baked channel count (conv groups). Result: the kept count of ``channels``."""

    node: str
    index: int
    argument: str
    channels: Axis

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Set the argument to the kept count."""
        del module
        _set(node, self.index, self.argument, kept.count(self.channels))


@dataclass(frozen=True, eq=False)
class SetSizes:
    """Given a list of sizes. Result: sizes of the labelled axes become kept counts.

    ``axes[i]`` belongs to entry i of the list; -1 stays. A size computed in the graph counts the
    original channels, so on an axis that loses some it becomes -1 (the rule sees to it that no
    other entry is -1).
    """

    node: str
    index: int
    argument: str
    axes: tuple[Axis, ...]

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Rewrite the list."""
        del module
        sizes = list(_get(node, self.index, self.argument))
        for position, axis in enumerate(self.axes):
            entry = sizes[position]
            if entry != -1 and not kept.whole(axis):
                sizes[position] = kept.count(axis) if isinstance(entry, int) else -1
        _set(node, self.index, self.argument, sizes)


@dataclass(frozen=True, eq=False)
class SetSplits:
    """Given split/chunk. Result: split_with_sizes with the kept count of each part."""

    node: str
    dim: int
    parts: tuple[Axis, ...]

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Replace the operation."""
        del module
        if all(kept.whole(part) for part in self.parts):
            return
        node.target = aten.split_with_sizes.default
        node.args = (node.args[0], [kept.count(part) for part in self.parts], self.dim)
        node.kwargs = {}


@dataclass(frozen=True, eq=False)
class SetRange:
    """Given a slice, narrow or slice_scatter. Result: the range counted in kept positions.

    ``before`` is the axis up to the range's start, ``inside`` the range itself; ``index`` is the
    position of the argument ``start``.
    """

    node: str
    index: int
    before: Axis
    inside: Axis

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Rewrite start and end (or length)."""
        del module
        if kept.whole(self.before) and kept.whole(self.inside):
            return
        start, length = kept.count(self.before), kept.count(self.inside)
        _set(node, self.index, "start", start)
        if node.target is aten.narrow.default:
            _set(node, self.index + 1, "length", length)
        else:
            _set(node, self.index + 1, "end", start + length)


@dataclass(frozen=True, eq=False)
class SetNumber:
    """Given a value derived from a channel count. Result: the original's value, written out."""

    node: str
    index: int
    argument: str
    value: float

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Set the argument."""
        del kept, module
        node.update_kwarg(self.argument, self.value)


@dataclass(frozen=True, eq=False)
class SetPad:
    """Given a constant pad on channels. Result: amounts counted in kept constants.

    ``entries`` are (position in the list, axis of the padded constants).
    """

    node: str
    entries: tuple[tuple[int, Axis], ...]

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Rewrite the amounts."""
        del module
        amounts = list(node.args[1])  # type: ignore[arg-type]
        for position, axis in self.entries:
            amounts[position] = kept.count(axis)
        node.update_arg(1, amounts)


@dataclass(frozen=True, eq=False)
class SetSqueezed:
    """Given a squeeze of whatever has size 1. Result: a squeeze of the axes that had it."""

    node: str
    dims: tuple[int, ...]

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Name the axes."""
        del kept, module
        in_place = str(node.target).split(".")[1].endswith("_")
        node.target = aten.squeeze_.dims if in_place else aten.squeeze.dims
        node.args = (node.args[0], list(self.dims))
        node.kwargs = {}


@dataclass(frozen=True, eq=False)
class Reindex:
    """Given an operation that picks channels in a fixed order (shuffle, roll, constant index).

    Result: index_select with the index counted in kept positions. ``index`` says which position of
    ``source`` every position of ``result`` holds.
    """

    node: str
    dim: int
    source: Axis
    result: Axis
    index: IntArray

    def apply(self, node: fx.Node, kept: Kept, module: fx.GraphModule) -> None:
        """Give the node an index of its own."""
        if kept.whole(self.source) and kept.whole(self.result):
            return
        place = np.cumsum(kept.mask(self.source)) - 1
        chosen = self.index[kept.mask(self.result)]
        node.target = aten.index_select.default
        node.args = (node.args[0], self.dim, None)
        node.kwargs = {}
        attach_index(module, node, 2, place[chosen])


def attach_index(
    module: fx.GraphModule, node: fx.Node, argument: int, index: Sequence[int] | Any
) -> None:
    """Give ``node`` a constant index buffer of its own as an argument."""
    name = f"_index_{node.name}"
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    tensor = torch.as_tensor(np.asarray(index), dtype=torch.int64, device=device)
    module.register_buffer(name, tensor)
    with node.graph.inserting_before(node):
        constant = node.graph.get_attr(name)
    mode = getattr(node.meta.get("val"), "fake_mode", None)
    constant.meta["val"] = mode.from_tensor(tensor) if mode is not None else tensor
    node.update_arg(argument, constant)
