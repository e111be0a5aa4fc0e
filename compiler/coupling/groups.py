"""ChannelGroup: coupled channels that are interchangeable, and how they are formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.array_types import IntArray
from compressc.layer_names import owner_of

Role = Literal["out", "in"]


@dataclass(frozen=True, eq=False)
class Member:
    """Where the units of a group live in one parameter or buffer.

    Attributes:
        tensor: name of the parameter or buffer.
        axis: the axis whose slices leave.
        role: "in" where the axis is summed over (a consumer), "out" otherwise.
        unit: unit of each slice, shape (slices,).
        position: index of each slice on the axis, shape (slices,); a unit may have several.
    """

    tensor: str
    axis: int
    role: Role
    unit: IntArray
    position: IntArray


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units (sets of parameter slices that must leave together) that are interchangeable.

    Attributes:
        name: the layer that produces the channels, "#2" and so on where it has several groups.
        size: number of units.
        members: the slices.
        multiple_of: kept counts are multiples of this, or all units (or ``minimum``).
        minimum: units that must stay; 0 where the axes keep other channels.
        partitions: per entry one label per unit, shape (size,); the kept units must be spread
            equally over the labels of each entry.
        classes: class of each unit in the coupling's solution, shape (size,).
        pinned: why the group may not be pruned, or None.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    multiple_of: int
    minimum: int
    partitions: tuple[IntArray, ...]
    classes: IntArray
    pinned: str | None

    @property
    def producers(self) -> tuple[str, ...]:
        """The layers whose output channels are the group's, in graph order."""
        return self._layers("out")

    @property
    def consumers(self) -> tuple[str, ...]:
        """The layers whose input channels are the group's, in graph order."""
        return self._layers("in")

    def _layers(self, role: Role) -> tuple[str, ...]:
        names = (owner_of(m.tensor) for m in self.members if m.role == role)
        return tuple(dict.fromkeys(names))

    @property
    def width_per_unit(self) -> int:
        """Slices of one unit on the first producing axis: 64 for a head of 64 channels."""
        for member in self.members:
            if member.role == "out":
                return max(1, len(member.unit) // self.size)
        return 1
