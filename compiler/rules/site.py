"""Site: one node of the graph as its rule sees it, and all that a rule can say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, fx

from compressc.array_types import IntArray
from compressc.channels.axes import Axes, Axis, IdSpace, exactly, is_labelled, plain
from compressc.channels.edits import Edit
from compressc.channels.shapes import Sizes, hinted_shape, value_of
from compressc.errors import RuleError
from compressc.layer_names import owner_of
from compressc.operators import argument_of, argument_place, is_view
from compressc.rules.records import Contraction, MacsTerm, Pin, Records, Split

# A tensor has Axes, a tuple of tensors a list of Axes, anything else None.
Value = Axes | list[Axes] | None

# Reason for axes that no user would ask about: kernel sizes, tokens of a position table.
STRUCTURAL = ""


@dataclass
class Site:
    """One node of the graph, as its rule sees it."""

    node: fx.Node
    space: IdSpace
    values: dict[str, Value]
    records: Records
    sizes: Sizes
    batch: int
    frozen_statistics: bool
    tensors: Mapping[str, Tensor]
    tied: frozenset[str]
    block_splits: frozenset[str]

    @property
    def name(self) -> str:
        """The node and its layer, as pins cite it."""
        return where(self.node)

    def arg(self, name: str) -> Any:
        """Return an argument by its schema name, or its default.

        Raises:
            RuleError: if the operation has no such argument.
        """
        self.index(name)
        return argument_of(self.node, name)

    def index(self, name: str) -> int:
        """Return the position of an argument in the schema.

        Raises:
            RuleError: if the operation has no such argument.
        """
        place = argument_place(self.node, name)
        if place is None:
            raise RuleError(f"{self.node.target} has no argument '{name}'")
        return place

    def axes(self, name: str) -> Axes:
        """Return the axes of a tensor argument."""
        axes = self.axes_of(self.arg(name))
        if axes is None:
            raise RuleError(f"argument '{name}' of {self.name} is no tensor")
        return axes

    def axes_of(self, value: object) -> Axes | None:
        """Return the axes of a node's tensor value, or None."""
        if not isinstance(value, fx.Node):
            return None
        axes = self.values.get(value.name)
        return axes if isinstance(axes, tuple) else None

    def shape(self, value: Tensor | None = None) -> tuple[int, ...]:
        """Return the output's shape (or a fake tensor's), symbols replaced by primes."""
        return self.sizes.shape(value_of(self.node) if value is None else value)

    def dim(self, name: str, rank: int) -> int:
        """Return a dimension argument as a non-negative number."""
        dim = int(self.arg(name))
        return dim + rank if dim < 0 else dim

    def plain_output(self) -> Value:
        """Return unlabelled axes for whatever the node returns."""
        return self._plain(value_of(self.node))

    def _plain(self, value: object) -> Value:
        if isinstance(value, Tensor):
            return tuple(plain(size) for size in self.sizes.shape(value))
        if isinstance(value, (tuple, list)):
            # An output that is no tensor keeps its place, so that indices stay right.
            return [axes if isinstance(axes := self._plain(item), tuple) else () for item in value]
        return None

    def freeze(self, axis: Axis, reason: str) -> None:
        """Pin an axis; ``reason`` follows the node's name in what the user reads."""
        if is_labelled(axis):
            text = f"{self.name} {reason}" if reason else STRUCTURAL
            self.space.freeze_axis(axis, text)
            if reason:
                self.records.pins.append(Pin(self.node.name, text))

    def freeze_all(self, axes: Sequence[Axis], reason: str) -> None:
        """Pin several axes."""
        for axis in axes:
            self.freeze(axis, reason)

    def flat(self, axis: Axis) -> IntArray | None:
        """Return one id per position of an axis, or None where nothing is labelled."""
        return self.space.flat(axis, f"{self.name} reads an axis made of two prunable factors")

    def constant_axis(self, size: int) -> Axis:
        """Return an axis of identical positions: free to shrink with whatever it meets."""
        return exactly(self.space.fresh(size))

    def constant_of(self, node: fx.Node) -> Tensor | None:
        """Return the tensor that a node stands for, if it is a parameter or buffer."""
        return self.tensors.get(str(node.target)) if node.op == "get_attr" else None

    def single_user(self, node: fx.Node) -> bool:
        """Return whether this node's use of a parameter is the only one."""
        return len(node.users) == 1 and str(node.target) not in self.tied

    def whole_blocks(self, outer: int, inner: int) -> bool:
        """Return whether an axis cut into (outer, inner) loses whole blocks.

        By default positions leave: every block (head) shrinks alike, and no block is lost. Where
        that is impossible, propagation asks for whole blocks.
        """
        return inner == 1 or self._split_name(outer, inner) in self.block_splits

    def note_split(self, outer: int, inner: int, ids: IntArray, *, blocks: bool) -> None:
        """Say what may leave after a cut, for propagation to judge."""
        name = self._split_name(outer, inner)
        self.records.splits.append(Split(name, layer_of(self.node), outer, ids, blocks))

    def _split_name(self, outer: int, inner: int) -> str:
        return f"{self.node.name}:{outer}x{inner}"

    def contract(self, operand: object, axis: int) -> None:
        """Say that the node sums over an axis of an operand."""
        axes = self.axes_of(operand)
        if axes is None or not isinstance(operand, fx.Node):
            raise RuleError(f"{self.name} contracts a value that is no tensor")
        axis %= len(axes)
        if operand.op == "get_attr":
            self.records.read_axes.append((str(operand.target), axis))
        if is_labelled(axes[axis]):
            self.records.contractions.append(
                Contraction(self.node.name, operand.name, axis, axes[axis])
            )

    def statistics(self) -> None:
        """Say that the node computes statistics over channels: it sees the kept ones only."""
        self.records.statistics.append(self.node.name)

    def macs(self, inner: int, channels: Sequence[Axis], output: Tensor | None = None) -> None:
        """Count multiply-accumulates: ``inner`` for each element of the output.

        Args:
            inner: products summed per output element at full size.
            channels: the axes that both the output and the inner sum range over.
            output: the value computed, if not the node's own.
        """
        value = value_of(self.node) if output is None else output
        # A product without a batch axis is shared by all samples, so shares need not be whole.
        total = prod(hinted_shape(value)) * inner / self.batch
        factors = tuple((f,) for axis in channels for f in axis if f.ids is not None)
        weight = next(
            (
                str(source.target)
                for source in self.node.all_input_nodes
                if source.op == "get_attr" and value_of(source).dim() > 1
            ),
            "",
        )
        layer = owner_of(weight) or layer_of(self.node) or self.node.name
        operation = str(getattr(self.node.target, "_opname", self.node.target))
        part = "" if weight else _weight_part(self.node)
        self.records.macs.append(
            MacsTerm(self.node.name, total, factors, layer, operation, weight, part)
        )

    def edit(self, edit: Edit) -> None:
        """Register how baked sizes change when channels leave."""
        self.records.edits.append(edit)


def _weight_part(node: fx.Node) -> str:
    """Return the name of the operand that is cut out of a parameter by views alone, or ""."""
    for source in node.all_input_nodes:
        parameter = source
        while parameter.op == "call_function" and is_view(parameter):
            parameter = parameter.all_input_nodes[0]
        value = value_of(source)
        if parameter.op == "get_attr" and isinstance(value, Tensor) and value.dim() > 1:
            return source.name
    return ""


def where(node: fx.Node) -> str:
    """Name a node the way users know it: operation and layer."""
    target = node.target
    operation = str(getattr(target, "_opname", "") or getattr(target, "__name__", target))
    layer = layer_of(node)
    return f"{operation} in {layer}" if layer else operation


def layer_of(node: fx.Node) -> str:
    """Return the dotted name of the module that made the node, or ""."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(list(stack.values())[-1][0])
    return path.removeprefix("L['self'].").removeprefix("L['self']")
