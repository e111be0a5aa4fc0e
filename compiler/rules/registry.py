"""The table of operation rules, and what a rule can say."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from torch import Tensor, fx

from compressc.coupling.axes import Axes, Axis, IdSpace, IntArray, exactly, is_labelled, plain
from compressc.coupling.edits import Edit
from compressc.coupling.shapes import Sizes, hinted_shape, value_of
from compressc.errors import RuleError

# A tensor has Axes, a tuple of tensors a list of Axes, anything else None.
Value = Axes | list[Axes] | None
Rule = Callable[["Site"], Value]

RULES: dict[Any, Rule] = {}

# Reason for axes that no user would ask about: kernel sizes, tokens of a position table.
STRUCTURAL = ""


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register a rule for one or more operations.

    Raises:
        RuleError: if an operation already has a rule.
    """

    def register(function: Rule) -> Rule:
        for target in targets:
            if target in RULES:
                raise RuleError(f"{target} has two rules")
            RULES[target] = function
        return function

    return register


@dataclass(frozen=True, eq=False)
class Contraction:
    """``node`` sums over axis ``axis`` of the value that ``operand`` produced."""

    node: str
    operand: str
    axis: int
    channels: Axis


@dataclass(frozen=True, eq=False)
class MacsTerm:
    """MACs of one node: ``total`` at full size, scaled by the kept share of each axis.

    ``layer`` and ``operation`` are what users read; ``weight`` is the parameter's name or "".
    """

    node: str
    total: int
    channels: tuple[Axis, ...]
    layer: str
    operation: str
    weight: str


@dataclass(frozen=True, eq=False)
class EqualCount:
    """Each of ``parts`` equal blocks of ``ids`` must keep the same number of channels."""

    node: str
    ids: IntArray
    parts: int


@dataclass(frozen=True, eq=False)
class GroupedWeight:
    """The weight of a convolution whose conv groups keep different input channels.

    ``rows`` are the ids of the axis that holds every conv group, ``columns`` those of the channels
    that the compact axis stands for, block by block: inputs, or the outputs of a transposed
    convolution (``column_role``).
    """

    tensor: str
    conv_groups: int
    row_axis: int
    column_axis: int
    rows: IntArray
    columns: IntArray
    column_role: Literal["in", "out"]


@dataclass(frozen=True)
class Pin:
    """A place where channels were pinned, and why."""

    node: str
    reason: str


@dataclass(frozen=True, eq=False)
class Split:
    """A labelled axis was cut into (outer, inner); ``ids`` are those of the part that may shrink.

    ``name`` is the node and the sizes of the cut, ``layer`` the module that made it; ``blocks``
    says that whole blocks leave.
    """

    name: str
    layer: str
    outer: int
    ids: IntArray
    blocks: bool


@dataclass
class Records:
    """Everything rules say about a graph besides the axes of values."""

    edits: list[Edit] = field(default_factory=list)
    contractions: list[Contraction] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)
    macs: list[MacsTerm] = field(default_factory=list)
    equal_counts: list[EqualCount] = field(default_factory=list)
    grouped_weights: list[GroupedWeight] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    read_axes: set[tuple[str, int]] = field(default_factory=set)

    def lengths(self) -> dict[str, int]:
        """Return how much was said so far."""
        return {name: len(value) for name, value in vars(self).items() if isinstance(value, list)}

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Forget what was said since :meth:`lengths`."""
        for name, length in lengths.items():
            del getattr(self, name)[length:]


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
        """Return an argument by its schema name, or its default."""
        for index, argument in enumerate(self.node.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name == name:
                if index < len(self.node.args):
                    return self.node.args[index]
                return self.node.kwargs.get(name, argument.default_value)
        raise RuleError(f"{self.node.target} has no argument '{name}'")

    def index(self, name: str) -> int:
        """Return the position of an argument in the schema."""
        for index, argument in enumerate(self.node.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name == name:
                return index
        raise RuleError(f"{self.node.target} has no argument '{name}'")

    def axes(self, name: str) -> Axes:
        """Return the axes of a tensor argument."""
        found = self.axes_of(self.arg(name))
        if found is None:
            raise RuleError(f"argument '{name}' of {self.name} is no tensor")
        return found

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
            self.records.read_axes.add((str(operand.target), axis))
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
        total = prod(hinted_shape(value)) * inner // self.batch
        factors = tuple((f,) for axis in channels for f in axis if f.ids is not None)
        weight = next(
            (
                str(source.target)
                for source in self.node.all_input_nodes
                if source.op == "get_attr" and value_of(source).dim() > 1
            ),
            "",
        )
        layer = weight.rpartition(".")[0] or weight or layer_of(self.node) or self.node.name
        operation = str(getattr(self.node.target, "_opname", self.node.target))
        self.records.macs.append(MacsTerm(self.node.name, total, factors, layer, operation, weight))

    def edit(self, edit: Edit) -> None:
        """Register how baked sizes change when channels leave."""
        self.records.edits.append(edit)


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


@rule(operator.getitem)
def take(site: Site) -> Value:
    """``values[i]``: one output of a node with several."""
    source, index = site.node.args
    if not isinstance(source, fx.Node):
        raise RuleError(f"{site.name} indexes something that is no node")
    values = site.values.get(source.name)
    if isinstance(values, list) and isinstance(index, int):
        return values[index]
    return site.plain_output()


def unknown(site: Site) -> Value:
    """Pin everything an operation without a rule touches."""
    operation = getattr(site.node.target, "name", lambda: str(site.node.target))()
    return freeze_inputs(site, f"is an operation without a rule ({operation})")


def freeze_inputs(site: Site, reason: str) -> Value:
    """Pin every axis of every input; the outputs are plain."""
    for source in site.node.all_input_nodes:
        axes = site.values.get(source.name)
        found = axes if isinstance(axes, list) else [axes] if axes is not None else []
        for one in found:
            site.freeze_all(one, reason)
    return site.plain_output()


def is_computation(node: fx.Node) -> bool:
    """Return whether a node computes tensors (and not sizes)."""
    value = value_of(node)
    return isinstance(value, Tensor) or (
        isinstance(value, (tuple, list)) and any(isinstance(item, Tensor) for item in value)
    )
