"""The search space: what a point is, and the plan that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compressc.array_types import BoolArray, FloatArray, IntArray
from compressc.coupling.graph import couple
from compressc.layer_names import owner_of
from compressc.passes.spaces.coordinates import Coordinate, Method, Point
from compressc.passes.spaces.rank_choice import RankChoice
from compressc.passes.widths.ladders import Ladder
from compressc.plan import Plan
from compressc.program import Program

Values = Mapping[Coordinate, float]


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """The hyper-parameters of one program; :func:`build_space` makes it.

    Attributes:
        program: its pending plan stays where the space decides nothing.
        methods: what is searched.
        coordinates: one per hyper-parameter, in graph order within a method.
        ladders: allowed widths by group.
        orders: place of each weight by size, smallest first, by parameter name.
    """

    program: Program
    methods: tuple[Method, ...]
    coordinates: tuple[Coordinate, ...]
    ladders: Mapping[str, Ladder]
    orders: Mapping[str, IntArray]

    @cached_property
    def discrete(self) -> BoolArray:
        """Which coordinates are rank steps, shape (coordinates,)."""
        return np.array([coordinate.steps > 0 for coordinate in self.coordinates], dtype=bool)

    @cached_property
    def whole(self) -> FloatArray:
        """The values that compress nothing, shape (coordinates,)."""
        return np.array([coordinate.whole for coordinate in self.coordinates])

    @cached_property
    def least(self) -> FloatArray:
        """The values that compress most, shape (coordinates,)."""
        return np.array([coordinate.least for coordinate in self.coordinates])

    def clip(self, values: FloatArray) -> FloatArray:
        """Return values within their ranges, rank steps rounded; shape (..., coordinates)."""
        rounded = np.where(self.discrete, np.rint(values), values)
        low, high = np.minimum(self.whole, self.least), np.maximum(self.whole, self.least)
        clipped: FloatArray = np.clip(rounded, low, high)
        return clipped

    def point(self, values: FloatArray) -> Point:
        """Return the point of a vector, clipped; shape (coordinates,)."""
        return Point(tuple(float(value) for value in self.clip(values)))

    def plan_of(self, point: Point) -> Plan:
        """Return the plan that a point stands for; it fits the program.

        Channels leave first; ranks are shares of the channels that stay. A layer that would not
        take fewer MACs in factors stays whole, and a factorised layer gets no mask of zeros.
        """
        values = dict(zip(self.coordinates, point.values, strict=True))
        plan = self.program.plan
        if "ps" in self.methods:
            plan = replace(plan, keep=self._keep(values))
        plan = couple(self.program).fit_ranks(plan)
        if {"svd", "tucker"} & set(self.methods):
            kept = couple(self.program).view(plan)
            plan = plan.with_rank(self._rank_choice.choose(values, kept))
        if "pn" in self.methods:
            plan = plan.with_zero(self._zero(values, plan))
        return plan

    def point_of_widths(self, keep: Mapping[str, BoolArray]) -> Point:
        """Return the point whose widths are those of some masks, everything else whole.

        Which channels leave is for the space to say, so its plan may be another.
        """
        shares = {
            Coordinate(name, "ps"): 1.0 - float(keep[name].mean())
            for name in self.ladders
            if name in keep
        }
        values = zip(self.coordinates, self.whole, strict=True)
        return self.point(np.array([shares.get(at, whole) for at, whole in values]))

    @cached_property
    def _rank_choice(self) -> RankChoice:
        return RankChoice(self.program)

    def _keep(self, values: Values) -> dict[str, BoolArray]:
        keep = {}
        for name, ladder in self.ladders.items():
            rung = ladder.rung_at(1.0 - values[Coordinate(name, "ps")])
            if rung < ladder.steps:
                keep[name] = ladder.mask(rung)
        return keep

    def _zero(self, values: Values, plan: Plan) -> dict[str, BoolArray]:
        zero = {}
        for name, order in self.orders.items():
            gone = int(np.floor(values[Coordinate(name, "pn")] * order.size))
            if gone and owner_of(name) not in plan.rank:
                zero[name] = order >= gone
        return zero
