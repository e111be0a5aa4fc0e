"""Rank choice: from rank steps of a layer to ranks that fit the channels it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from compressc.channels.kept import Kept
from compressc.coupling.graph import couple
from compressc.factors.sites import FactorSite
from compressc.passes.lowrank.menus import rank_steps
from compressc.passes.spaces.coordinates import TUCKER_STEPS, Coordinate
from compressc.program import Program

Ranks = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankChoice:
    """Turns rank steps into ranks, and remembers the answers.

    A step is a share of the full rank. Bounds ask for the same ranks again and again, which is why
    answers are kept.

    Attributes:
        program: whose layers are factorised.
    """

    program: Program
    _known: dict[tuple[object, ...], Ranks | None] = field(default_factory=dict, repr=False)

    def choose(self, values: Mapping[Coordinate, float], kept: Kept) -> dict[str, Ranks]:
        """Return the ranks of all layers that get cheaper by being factorised.

        Args:
            values: rank steps by coordinate; other coordinates are passed over.
            kept: the channels that stay.
        """
        inner = {
            coordinate.place: value
            for coordinate, value in values.items()
            if coordinate.side == "in"
        }
        rank = {}
        for coordinate, value in values.items():
            if coordinate.method not in ("svd", "tucker") or coordinate.side == "in":
                continue
            # Only Tucker-2 has a second side, and a layer of one input channel no rank there.
            steps = value, inner.get(coordinate.place, 0.0)
            ranks = self._ranks_of(coordinate, steps, kept)
            if ranks is not None:
                rank[coordinate.place] = ranks
        return rank

    def _ranks_of(
        self, coordinate: Coordinate, steps: tuple[float, float], kept: Kept
    ) -> Ranks | None:
        """Return the ranks of one layer, or None where it is cheaper whole."""
        site = couple(self.program).factor_sites.site(coordinate.place)
        width = kept.count(site.in_axis), kept.count(site.out_axis)
        key = coordinate.place, width, steps
        if key not in self._known:
            self._known[key] = self._compute(coordinate, site, width, steps)
        return self._known[key]

    def _compute(
        self,
        coordinate: Coordinate,
        site: FactorSite,
        width: tuple[int, int],
        steps: tuple[float, float],
    ) -> Ranks | None:
        inputs, outputs = width
        shares = [steps[0] / coordinate.steps]
        if coordinate.side == "out":
            narrow = min(TUCKER_STEPS, full_width(self.program, site)[0])
            shares.append(steps[1] / narrow if steps[1] else 1.0)
        grid = rank_steps(inputs, outputs, site.modes, self.program.constraints.multiple_of)
        ranks = tuple(
            min(-(-max(1, int(np.ceil(share * size - 1e-9))) // step) * step, size)
            for share, size, step in zip(shares, site.sizes(inputs, outputs), grid, strict=True)
        )
        return ranks if site.saves(ranks, inputs, outputs) else None


def full_width(program: Program, site: FactorSite) -> tuple[int, int]:
    """Return the input and output channels of a layer at full size."""
    outputs, inputs = couple(program).propagation.tensors[site.weight].shape[:2]
    return int(inputs), int(outputs)
