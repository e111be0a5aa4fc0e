"""The search space: what an individual is, and the plan that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

import numpy as np

from compressc.array_types import BoolArray, FloatArray, IntArray
from compressc.channels.kept import Kept
from compressc.coupling.graph import couple
from compressc.coupling.weight_masks import contracted_weights, layer_of
from compressc.errors import PlanError
from compressc.factors.sites import FactorSite
from compressc.passes.lowrank.menus import rank_steps
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.plan import Plan
from compressc.program import Program

Method = Literal["ps", "pn", "svd", "tucker"]
Side = Literal["", "out", "in"]
# A value by method, place and side.
Values = Mapping[tuple[Method, str, Side], float]
METHODS: tuple[Method, ...] = ("ps", "pn", "svd", "tucker")
# Rank steps of a matrix, and of each side of a kernel.
_SVD_STEPS = 64
_TUCKER_STEPS = 8


@dataclass(frozen=True)
class Individual:
    """One vector of per-layer hyper-parameters, in the order of the space's coordinates."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Coordinate:
    """One hyper-parameter.

    Attributes:
        place: the group (ps), weight (pn) or layer (svd, tucker) that it compresses.
        method: how.
        steps: 0 for a continuous share from 0 (all stays) to 1; else rank steps from 1 to this,
            where the last one is the full rank.
        side: of a Tucker-2 decomposition: "out" or "in"; else "".
    """

    place: str
    method: Method
    steps: int = 0
    side: Side = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return " ".join(part for part in (self.method, self.place, self.side) if part)

    @property
    def whole(self) -> float:
        """The value that compresses nothing."""
        return float(self.steps) if self.steps else 0.0

    @property
    def least(self) -> float:
        """The value that compresses most."""
        return 1.0


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """The hyper-parameters of one program.

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
        return np.array([one.steps > 0 for one in self.coordinates], dtype=bool)

    @cached_property
    def whole(self) -> FloatArray:
        """The values that compress nothing, shape (coordinates,)."""
        return np.array([one.whole for one in self.coordinates])

    @cached_property
    def least(self) -> FloatArray:
        """The values that compress most, shape (coordinates,)."""
        return np.array([one.least for one in self.coordinates])

    def clip(self, values: FloatArray) -> FloatArray:
        """Return values within their ranges, rank steps rounded; shape (..., coordinates)."""
        rounded = np.where(self.discrete, np.rint(values), values)
        low, high = np.minimum(self.whole, self.least), np.maximum(self.whole, self.least)
        clipped: FloatArray = np.clip(rounded, low, high)
        return clipped

    def individual(self, values: FloatArray) -> Individual:
        """Return the individual of a vector, clipped; shape (coordinates,)."""
        return Individual(tuple(float(value) for value in self.clip(values)))

    def plan_of(self, individual: Individual) -> Plan:
        """Return the plan that an individual stands for; it fits the program.

        Channels leave first; ranks are shares of the channels that stay. A layer that would not
        take fewer MACs in factors stays whole, and a factorised layer gets no mask of zeros.
        """
        found = {
            (one.method, one.place, one.side): value
            for one, value in zip(self.coordinates, individual.values, strict=True)
        }
        plan = self.program.plan
        if "ps" in self.methods:
            plan = replace(plan, keep=self._keep(found))
        plan = couple(self.program).fit_ranks(plan)
        if {"svd", "tucker"} & set(self.methods):
            plan = plan.with_rank(self._rank(found, couple(self.program).view(plan)))
        if "pn" in self.methods:
            plan = plan.with_zero(self._zero(found, plan))
        return plan

    def _keep(self, found: Values) -> dict[str, BoolArray]:
        keep = {}
        for name, ladder in self.ladders.items():
            rung = ladder.rung_at(1.0 - found["ps", name, ""])
            if rung < ladder.steps:
                keep[name] = ladder.mask(rung)
        return keep

    def _rank(self, found: Values, kept: Kept) -> dict[str, tuple[int, ...]]:
        sites = couple(self.program).factor_sites
        rank = {}
        for one in self.coordinates:
            if one.method not in ("svd", "tucker") or one.side == "in":
                continue
            site = sites.site(one.place)
            width = kept.count(site.in_axis), kept.count(site.out_axis)
            # Only Tucker-2 has a second side, and a layer of one input channel no rank there.
            steps = (
                found[one.method, one.place, one.side],
                found.get(("tucker", one.place, "in"), 0.0),
            )
            # Bounds ask for the same ranks again and again.
            key = one.place, width, steps
            if key not in self._known_ranks:
                self._known_ranks[key] = self._ranks_of(one, site, width, steps)
            ranks = self._known_ranks[key]
            if ranks is not None:
                rank[one.place] = ranks
        return rank

    @cached_property
    def _known_ranks(self) -> dict[tuple[object, ...], tuple[int, ...] | None]:
        return {}

    def _ranks_of(
        self, one: Coordinate, site: FactorSite, width: tuple[int, int], steps: tuple[float, float]
    ) -> tuple[int, ...] | None:
        """Return the ranks of a layer of (input, output) channels, or None where it stays whole."""
        inputs, outputs = width
        shares = [steps[0] / one.steps]
        if one.side == "out":
            narrow = min(_TUCKER_STEPS, _width(self.program, site)[0])
            shares.append(steps[1] / narrow if steps[1] else 1.0)
        grid = rank_steps(inputs, outputs, site.modes, self.program.constraints.multiple_of)
        ranks = tuple(
            min(-(-max(1, int(np.ceil(share * size - 1e-9))) // step) * step, size)
            for share, size, step in zip(shares, site.sizes(inputs, outputs), grid, strict=True)
        )
        return ranks if site.saves(ranks, inputs, outputs) else None

    def _zero(self, found: Values, plan: Plan) -> dict[str, BoolArray]:
        zero = {}
        for name, order in self.orders.items():
            gone = int(np.floor(found["pn", name, ""] * order.size))
            if gone and layer_of(name) not in plan.rank:
                zero[name] = order >= gone
        return zero


def build_space(
    program: Program, methods: Sequence[Method], importance: Mapping[str, FloatArray]
) -> SearchSpace:
    """Return the space of some methods; what the constraints keep is no part of it.

    Args:
        program: the program.
        methods: what to search; their order does not matter.
        importance: of the units of every group that is not pinned; read for "ps" only.

    Raises:
        PlanError: if nothing of the program can be compressed so.
    """
    chosen = tuple(method for method in METHODS if method in methods)
    ladders: dict[str, Ladder] = {}
    if "ps" in chosen:
        for group in couple(program).groups:
            if group.pinned is None:
                ladder = build_ladder(group, importance[group.name])
                if ladder.steps:
                    ladders[group.name] = ladder
    coordinates = [Coordinate(name, "ps") for name in ladders]
    weights = _weights(program) if "pn" in chosen else []
    coordinates += [Coordinate(name, "pn") for name in weights]
    coordinates += _rank_coordinates(program, chosen)
    if not coordinates:
        raise PlanError(
            f"ascai finds nothing to compress by {', '.join(chosen)}; `compressc inspect` shows "
            "what is pinned and why; give other --spaces or a smaller --multiple-of"
        )
    tensors = couple(program).propagation.tensors
    orders = {}
    for name in weights:
        sizes = tensors[name].detach().abs().flatten().cpu().numpy()
        order = np.empty(sizes.size, dtype=np.int64)
        order[np.argsort(sizes, kind="stable")] = np.arange(sizes.size)
        orders[name] = order.reshape(tuple(tensors[name].shape))
    return SearchSpace(program, chosen, tuple(coordinates), ladders, orders)


def _is_kept(program: Program, layer: str) -> bool:
    return any(fnmatchcase(layer, pattern) for pattern in program.constraints.keep)


def _weights(program: Program) -> list[str]:
    return [
        name
        for name in contracted_weights(couple(program))
        if not _is_kept(program, layer_of(name)) and layer_of(name) not in program.plan.rank
    ]


def _rank_coordinates(program: Program, methods: Sequence[Method]) -> list[Coordinate]:
    coordinates: list[Coordinate] = []
    for name, site in couple(program).factor_sites.sites.items():
        inputs, outputs = _width(program, site)
        method: Method = "svd" if site.modes == 1 else "tucker"
        smallest = (1,) * site.modes
        if (
            method not in methods
            or _is_kept(program, name)
            or site.weight in program.plan.zero
            or not site.saves(smallest, inputs, outputs)
        ):
            continue
        if method == "svd":
            coordinates.append(Coordinate(name, method, min(_SVD_STEPS, inputs, outputs)))
            continue
        coordinates.append(Coordinate(name, method, min(_TUCKER_STEPS, outputs), "out"))
        if inputs > 1:
            coordinates.append(Coordinate(name, method, min(_TUCKER_STEPS, inputs), "in"))
    return coordinates


def _width(program: Program, site: FactorSite) -> tuple[int, int]:
    """Return the input and output channels of a layer at full size."""
    outputs, inputs = couple(program).propagation.tensors[site.weight].shape[:2]
    return int(inputs), int(outputs)
