"""Records: everything that rules say about a graph besides the axes of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from compressc.array_types import IntArray
from compressc.channels.axes import Axis
from compressc.channels.edits import Edit


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

    ``layer`` and ``operation`` are what users read; ``weight`` is the parameter's name or "", and
    ``weight_part`` the node that cuts the weight out of a parameter (as in packed projections), or
    "".
    """

    node: str
    total: float
    channels: tuple[Axis, ...]
    layer: str
    operation: str
    weight: str
    weight_part: str = ""


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
    """Everything rules say about a graph besides the axes of values.

    Every field is a list that rules only append to, so that what a failing rule has said can be
    taken back.

    Attributes:
        edits: how baked sizes change when channels leave.
        contractions: which axes of which values a node sums over.
        statistics: names of nodes that compute statistics over channels.
        macs: multiply-accumulates of every node that multiplies.
        equal_counts: blocks that must keep equally many channels.
        grouped_weights: weights of convolutions with conv groups.
        pins: places where channels were pinned.
        splits: labelled axes that were cut in two.
        read_axes: (name, axis) of every parameter or buffer that a node sums over.
    """

    edits: list[Edit] = field(default_factory=list)
    contractions: list[Contraction] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)
    macs: list[MacsTerm] = field(default_factory=list)
    equal_counts: list[EqualCount] = field(default_factory=list)
    grouped_weights: list[GroupedWeight] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    read_axes: list[tuple[str, int]] = field(default_factory=list)

    def lengths(self) -> dict[str, int]:
        """Return how much was said so far, by the name of the field."""
        return {name: len(value) for name, value in vars(self).items()}

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Forget what was said since :meth:`lengths`."""
        for name, length in lengths.items():
            del getattr(self, name)[length:]
