"""Lowrank: layers become products of smaller ones where their weights are nearly of low rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.errors import GoalError, PlanError
from compressc.passes.lowrank.menus import RankMenu, build_menu
from compressc.passes.lowrank.remarks import describe_ranks
from compressc.plan import Plan
from compressc.program import HistoryLine, Program

Ranks = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Lowrank(Pass):
    """Factorise layers: SVD for linear layers and 1x1 convolutions, Tucker-2 for the others.

    Every layer keeps the same share of the energy of its weight (the sum of its squared singular
    values; for Tucker-2 of both unfoldings), and only layers that get cheaper by it are
    factorised. Ranks are rounded up to multiples of the machine's channel step, or to half of it
    and so on where a layer is too narrow for that. Best run after passes that prune: ranks are then
    chosen for the channels that stay. Pruning later leaves them as they are, and takes them back
    where a layer got so narrow that it is cheaper whole.

    Attributes:
        energy: share of the energy that stays, without a goal. A goal decides by itself: the
            highest energy that meets it is taken, so nothing is done where it is met already.
        layers: patterns of the layers that may be factorised.

    Source:
        SVD: Denton et al., Exploiting Linear Structure Within Convolutional Networks, NeurIPS
        2014. Tucker-2: Kim et al., Compression of Deep Convolutional Neural Networks for Fast and
        Low Power Mobile Applications, ICLR 2016.

    Deviations:
        Ranks follow the energy, or the goal, instead of variational Bayesian matrix factorisation.

    Raises:
        GoalError: if the energy is not above 0 and at most 1.
    """

    energy: float = 0.95
    layers: tuple[str, ...] = ("*",)
    name: ClassVar[str] = "lowrank"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"rank"}))

    def __post_init__(self) -> None:
        if not 0 < self.energy <= 1:
            raise GoalError(
                f"energy {self.energy:g}: give a share of each weight's energy above 0 and at "
                "most 1, such as 0.95"
            )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with ranks; earlier ranks of the same layers are replaced.

        Raises:
            PlanError: if no layer can be factorised.
            GoalError: if the goal is out of reach, or nothing saves MACs at the energy.
        """
        names, notes = self._choose_layers(program)
        menus: dict[str, RankMenu] = {}
        for index, name in enumerate(names):
            context.progress(index, len(names), name)
            menu = build_menu(program, name)
            if menu.options:
                menus[name] = menu
        if not menus:
            raise PlanError(
                "lowrank finds no layer that gets cheaper by being factorised: "
                + ("; ".join(notes) or "there is no linear layer or convolution wide enough")
            )
        others = {name: r for name, r in program.plan.rank.items() if name not in menus}
        base = replace(program.plan, rank=others)
        bounds = Bounds(context.goal.bounds, couple(program).cost(Plan()))
        if bounds:
            energy, rank = _meet_bounds(program, base, menus, bounds)
            chosen = f"energy {energy:.4g} meets the goal" if rank else "the goal is met already"
        else:
            rank = _ranks_at(menus, self.energy)
            chosen = f"energy {self.energy:g}"
            if not rank:
                raise GoalError(
                    f"lowrank: at energy {self.energy:g} no layer gets cheaper by being "
                    "factorised; lower --energy, or leave the pass out"
                )
        decided = program.with_plan(base.with_rank(rank))
        lines = describe_ranks(decided, rank)
        return decided.with_line(HistoryLine(self.name, notes=(*notes, chosen, *lines)))

    def _choose_layers(self, program: Program) -> tuple[list[str], tuple[str, ...]]:
        """Return the layers that may be factorised, and remarks on those asked for in vain."""
        sites = couple(program).factor_sites
        known = [*sites.sites, *sites.refusals]
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise PlanError(
                    f"lowrank: no layer matches '{pattern}'; names are {', '.join(known[:5])}, ..."
                )
        names: list[str] = []
        notes: list[str] = []
        for name in known:
            patterns = [p for p in self.layers if fnmatchcase(name, p)]
            if not patterns:
                continue
            kept = [p for p in program.constraints.keep if fnmatchcase(name, p)]
            if name in sites.refusals:
                if set(patterns) != {"*"}:
                    notes.append(f"{name} stays: it {sites.refusals[name]}")
            elif kept:
                notes.append(f"{name} stays: kept by --keep {kept[0]}")
            elif sites.sites[name].weight in program.plan.zero:
                notes.append(f"{name} stays: its weights have a mask of zeros")
            else:
                names.append(name)
        return names, tuple(notes)


def _ranks_at(menus: Mapping[str, RankMenu], energy: float) -> Ranks:
    """Return the ranks of the layers that get cheaper at an energy."""
    ranks_of = {name: menu.ranks_at(energy) for name, menu in menus.items()}
    return {name: ranks for name, ranks in ranks_of.items() if ranks is not None}


def _meet_bounds(
    program: Program, base: Plan, menus: Mapping[str, RankMenu], bounds: Bounds
) -> tuple[float, Ranks]:
    """Return the highest energy that meets the bounds, and its ranks.

    What room is then left goes to the layers that lost most, one option at a time.

    Raises:
        GoalError: if even the lowest ranks do not meet the bounds.
    """

    def cost_of(rank: Ranks) -> Cost:
        return couple(program).cost(base.with_rank(rank))

    if bounds.hold(cost_of({})):
        return 1.0, {}
    energies = np.unique([option.energy for menu in menus.values() for option in menu.options])
    low, high = 0, len(energies)
    rank = _ranks_at(menus, float(energies[0]))
    if not bounds.hold(cost_of(rank)):
        advice = ("prune channels as well (--pass magnitude)",)
        raise bounds.out_of_reach(cost_of(rank), "factorising", advice=advice)
    while high - low > 1:
        middle = (low + high) // 2
        if bounds.hold(cost_of(_ranks_at(menus, float(energies[middle])))):
            low = middle
        else:
            high = middle
    energy = float(energies[low])
    rank = _ranks_at(menus, energy)
    for name in sorted(rank, key=lambda name: menus[name].energy_of(rank[name])):
        wider = menus[name].next_above(rank[name])
        if wider is not None and bounds.hold(cost_of({**rank, name: wider})):
            rank[name] = wider
    return energy, rank
