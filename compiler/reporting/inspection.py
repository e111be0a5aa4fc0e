"""Inspection: what of a program may be pruned, what not and why, and where its MACs are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from compressc.array_types import BoolArray
from compressc.choices.blocks import LEFT_OUT
from compressc.coupling.graph import Coupling, couple
from compressc.coupling.groups import ChannelGroup
from compressc.plan import Plan
from compressc.program import Program


@dataclass(frozen=True)
class MemberView:
    """One axis of one tensor that a group has slices on."""

    tensor: str
    axis: int
    role: str
    slices: int


@dataclass(frozen=True)
class GroupView:
    """One ChannelGroup.

    Attributes:
        name: the layer that produces the channels.
        units: how many can leave, one by one.
        width_per_unit: channels of the producing layer per unit.
        minimum: units that must stay.
        pinned: why none may leave, or None.
        producers, consumers: layers whose output or input channels are the group's.
        halving_saves: share of the model's MACs that leaves with half of the units.
        members: every tensor axis concerned.
    """

    name: str
    units: int
    width_per_unit: int
    minimum: int
    pinned: str | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    halving_saves: float
    members: tuple[MemberView, ...]


@dataclass(frozen=True)
class LayerView:
    """One layer that multiplies; amounts per sample."""

    name: str
    operation: str
    in_channels: int
    out_channels: int
    macs: int
    params: int


@dataclass(frozen=True)
class BlockView:
    """One residual block that may be left out.

    Attributes:
        name: of the decision in a plan.
        layers: whose parameters leave with it.
        skip: the value that then takes its place, as the captured graph calls it.
        saves: share of the model's MACs that leaves with it.
        pinned: why it has to stay, or None.
    """

    name: str
    layers: tuple[str, ...]
    skip: str
    saves: float
    pinned: str | None


@dataclass(frozen=True)
class PinView:
    """A place where channels have to stay, why, and how many units that concerns."""

    name: str
    reason: str
    units: int | None


@dataclass(frozen=True)
class Inspection:
    """Everything that ``compressc inspect`` shows.

    Attributes:
        macs, params, size_bytes: the model's cost per sample.
        least_macs, least_params: what is left when every group shrinks to its minimum.
        inputs: per input its name and example shape.
        groups, layers, pins, blocks: in graph order.
    """

    macs: int
    params: int
    size_bytes: int
    least_macs: int
    least_params: int
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    groups: tuple[GroupView, ...]
    layers: tuple[LayerView, ...]
    pins: tuple[PinView, ...]
    blocks: tuple[BlockView, ...] = ()

    def to_json(self) -> str:
        """Return the inspection as JSON text."""
        return json.dumps({"format": "compressc-inspection-1", **asdict(self)}, indent=1)


def inspect_program(program: Program) -> Inspection:
    """Look at a program's coupling."""
    coupling = couple(program)
    cost = coupling.cost(Plan())
    least = coupling.costs.cost(_least(coupling))
    return Inspection(
        macs=cost.macs,
        params=cost.params,
        size_bytes=cost.size_bytes,
        least_macs=least.macs,
        least_params=least.params,
        inputs=tuple(
            (name, tuple(getattr(value, "shape", ())))
            for name, value in zip(program.input_names, program.example_inputs, strict=True)
        ),
        groups=tuple(_group_view(group, coupling, cost.macs) for group in coupling.groups),
        layers=tuple(
            LayerView(
                layer.name,
                layer.operation,
                layer.in_channels,
                layer.out_channels,
                layer.macs,
                layer.params,
            )
            for layer in coupling.layers(Plan())
        ),
        pins=pins_of(coupling),
        blocks=tuple(
            BlockView(
                block.name,
                block.layers,
                block.skip,
                1 - coupling.cost(Plan(choice={block.name: LEFT_OUT})).macs / max(cost.macs, 1),
                block.pinned,
            )
            for block in coupling.branches.blocks
        ),
    )


def pins_of(coupling: Coupling) -> tuple[PinView, ...]:
    """Return pinned groups, then the operations that pinned something without parameters."""
    groups = [PinView(g.name, g.pinned, g.size) for g in coupling.groups if g.pinned is not None]
    told = {pin.reason for pin in groups}
    nodes = [PinView(p.node, p.reason, None) for p in coupling.pins if p.reason not in told]
    return (*groups, *nodes)


def _least(coupling: Coupling) -> BoolArray:
    kept = coupling.kept(Plan())
    for group in coupling.groups:
        if group.pinned is None:
            kept[group.classes[max(group.minimum, _labels(group)) :]] = False
    return kept


def _labels(group: ChannelGroup) -> int:
    """Return the units that equal shares per label take at least, 0 if the group may vanish."""
    most = max((int(labels.max()) + 1 for labels in group.partitions), default=0)
    return most if group.minimum else 0


def _group_view(group: ChannelGroup, coupling: Coupling, macs: int) -> GroupView:
    kept = coupling.kept(Plan())
    kept[group.classes[(group.size + 1) // 2 :]] = False
    saved = macs - coupling.costs.macs(kept)
    return GroupView(
        name=group.name,
        units=group.size,
        width_per_unit=group.width_per_unit,
        minimum=group.minimum,
        pinned=group.pinned,
        producers=group.producers,
        consumers=group.consumers,
        halving_saves=saved / macs if macs else 0.0,
        members=tuple(
            MemberView(member.tensor, member.axis, member.role, len(member.position))
            for member in group.members
        ),
    )
