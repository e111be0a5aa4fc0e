"""The channel-coupling graph: which channels leave together, what may leave, what it saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import networkx as nx
import numpy as np
from torch import fx

from compressc.array_types import BoolArray, IntArray
from compressc.channels.axes import Axes, Solution
from compressc.channels.kept import Kept
from compressc.choices.blocks import find_blocks
from compressc.choices.branches import Branches, read_branches
from compressc.costs import Cost, CostBuilder, CostModel
from compressc.coupling.dependency_graph import build_dependency_graph
from compressc.coupling.grouping import form_groups, unbalanced
from compressc.coupling.groups import ChannelGroup
from compressc.coupling.keep_patterns import pin_kept
from compressc.coupling.layers import LayerCost, factored_cost, layer_costs
from compressc.coupling.partitions import join_blocks, resolve_partitions
from compressc.errors import PlanError
from compressc.factors.costs import FactorCosts, place_sites
from compressc.factors.sites import FactorSites, find_factor_sites
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.propagation import Propagation, propagate
from compressc.rules.records import Pin


@dataclass(frozen=True, eq=False)
class Coupling:
    """Result of :func:`couple`.

    Attributes:
        groups: ChannelGroups in graph order, pinned ones included.
        costs: cost as a function of the classes that stay, no layer factorised.
        pins: where rules pinned channels, and why.
        propagation: axes of every value and parameter, edits, contractions.
        solution: class of every id.
        factor_costs: what factorised layers cost instead.
        branches: architecture choices and residual blocks, and what each decision leaves of the
            graph.
    """

    groups: tuple[ChannelGroup, ...]
    costs: CostModel
    pins: tuple[Pin, ...]
    propagation: Propagation
    solution: Solution
    _by_name: Mapping[str, ChannelGroup]
    factor_costs: FactorCosts
    _module: fx.GraphModule
    branches: Branches

    @property
    def factor_sites(self) -> FactorSites:
        """The layers that can be factorised, and why others cannot."""
        return self.factor_costs.sites

    @cached_property
    def graph(self) -> nx.MultiDiGraph:
        """The coupling as a networkx graph; see :func:`build_dependency_graph` for its nodes."""
        return build_dependency_graph(self._module, self)

    def group(self, name: str) -> ChannelGroup:
        """Return the group called ``name``.

        Raises:
            PlanError: if there is none.
        """
        if name not in self._by_name:
            raise PlanError(f"no ChannelGroup is called '{name}'; see compressc inspect")
        return self._by_name[name]

    def kept(self, plan: Plan) -> BoolArray:
        """Return which classes stay under a plan, shape (classes,)."""
        kept = np.ones(len(self.solution.reason_of), dtype=bool)
        for name, mask in plan.keep.items():
            kept[self.group(name).classes] = mask
        return kept

    def view(self, plan: Plan) -> Kept:
        """Return a plan in the language of channel ids."""
        return Kept(self.solution.class_of, self.kept(plan))

    def cost_model(self, plan: Plan) -> CostModel:
        """Return cost as a function of the classes that stay, under a plan's ranks and choices.

        Raises:
            PlanError: if a layer cannot be factorised.
        """
        return self.factor_costs.apply(self.costs_under(plan.choice), self.living_ranks(plan))

    def costs_under(self, choice: Mapping[str, int]) -> CostModel:
        """Return cost as a function of the classes that stay, no layer factorised.

        Args:
            choice: decisions, by name; may be none.
        """
        if not choice:
            return self.costs
        nodes, living = self.branches.decide(choice).living, self.living_tensors(choice)
        names = list(self.propagation.parameters)
        return self.costs.restricted(
            [term.node in nodes for term in self.propagation.records.macs],
            [name in living for name in names if self.propagation.is_parameter(name)],
            [name in living for name in names],
        )

    def free_groups(self, choice: Mapping[str, int]) -> tuple[ChannelGroup, ...]:
        """Return the groups that are not pinned and have slices of a tensor that choices leave."""
        free = tuple(group for group in self.groups if group.pinned is None)
        if not choice:
            return free
        living = self.living_tensors(choice)
        return tuple(
            group for group in free if any(member.tensor in living for member in group.members)
        )

    def living_tensors(self, choice: Mapping[str, int]) -> frozenset[str]:
        """Return the parameters and buffers that are read under choices, by their first names."""
        canonical, living = self.propagation.canonical, self.branches.decide(choice).living
        return frozenset(
            canonical[name]
            for node, name in self.branches.tensors.items()
            if node in living and name in canonical
        )

    def living_ranks(self, plan: Plan) -> dict[str, tuple[int, ...]]:
        """Return the ranks of the layers that a plan's choices leave."""
        if not plan.choice:
            return dict(plan.rank)
        living = self.branches.decide(plan.choice).living
        return {
            name: ranks
            for name, ranks in plan.rank.items()
            if self.factor_sites.site(name).node in living
        }

    def cost(self, plan: Plan) -> Cost:
        """Return the exact cost under a plan, without lowering."""
        return self.cost_model(plan).cost(self.kept(plan))

    def layers(self, plan: Plan) -> tuple[LayerCost, ...]:
        """Return the layers with weights, in graph order, under a plan.

        A factorised layer is one row: its channels, and what its parts cost together.
        """
        living = self.branches.decide(plan.choice).living if plan.choice else None
        rows = layer_costs(self.propagation, self.view(plan), living)
        sites = {name: self.factor_sites.site(name) for name in plan.rank}
        return tuple(
            factored_cost(row, sites[row.name], plan.rank[row.name]) if row.name in sites else row
            for row in rows
        )

    def fit_ranks(self, plan: Plan) -> Plan:
        """Return the plan with ranks that still make sense for the channels it keeps.

        Ranks above what is left are lowered; layers that are cheaper whole lose their entry.
        """
        kept = self.view(plan)
        rank: dict[str, tuple[int, ...]] = {}
        for name, ranks in plan.rank.items():
            site = self.factor_sites.site(name)
            inputs, outputs = kept.count(site.in_axis), kept.count(site.out_axis)
            fitting = site.clipped(ranks, inputs, outputs)
            if site.saves(fitting, inputs, outputs):
                rank[name] = fitting
        return replace(plan, rank=rank)

    def check(self, plan: Plan) -> None:
        """Check that a plan can be applied.

        Raises:
            PlanError: naming the group or tensor and what is wrong with its decision.
        """
        for name, mask in plan.keep.items():
            _check_group(self.group(name), mask)
        for name, mask in plan.zero.items():
            tensor = self.propagation.tensors.get(name)
            if tensor is None or not self.propagation.is_parameter(name):
                raise PlanError(f"zero mask for '{name}': the model has no such parameter")
            if tuple(tensor.shape) != mask.shape:
                raise PlanError(
                    f"zero mask for '{name}' has shape {mask.shape}, the parameter "
                    f"{tuple(tensor.shape)}"
                )
        self.branches.check(plan.choice)
        kept = self.view(plan)
        for name, ranks in plan.rank.items():
            site = self.factor_sites.site(name)
            site.check(ranks, kept.count(site.in_axis), kept.count(site.out_axis))
            if site.weight in plan.zero:
                raise PlanError(
                    f"'{name}' is to be factorised, which would fill the zeros of its mask; "
                    "factorise it, or zero its weights"
                )


def _check_group(group: ChannelGroup, mask: BoolArray) -> None:
    if mask.shape != (group.size,):
        raise PlanError(
            f"group '{group.name}' has {group.size} units, the plan decides {mask.shape}"
        )
    if mask.all():
        return
    if group.pinned is not None:
        raise PlanError(f"group '{group.name}' is pinned: {group.pinned}")
    if mask.sum() < group.minimum:
        raise PlanError(f"group '{group.name}' must keep at least {group.minimum} unit(s)")
    for labels in group.partitions:
        counts = np.bincount(labels[mask], minlength=int(labels.max()) + 1)
        if counts.min() != counts.max():
            raise PlanError(
                f"group '{group.name}': every conv group must keep the same number of channels, "
                f"the plan keeps {counts.min()} to {counts.max()}"
            )


def couple(program: Program) -> Coupling:
    """Return the channel-coupling graph of a program.

    It is built once per graph, weights and constraints; programs that differ in their plans share
    it.
    """
    return program.once("coupling", lambda: build_coupling(program))


def cost_of(program: Program) -> Cost:
    """Return MACs, params and bytes of a program under its pending plan, without lowering.

    Raises:
        PlanError: if the plan does not fit.
    """
    return couple(program).cost(program.plan)


def build_coupling(program: Program) -> Coupling:
    """Build the channel-coupling graph of a program: one forward pass, no fixpoint."""
    propagation = propagate(program)
    while True:
        solution, partitions = resolve_partitions(propagation)
        groups = form_groups(propagation, solution, partitions, program.constraints)
        conflicts = unbalanced(groups, partitions)
        if not conflicts:
            break
        join_blocks(propagation, conflicts[0].constraint)
    builder = CostBuilder(solution.class_of, len(solution.reason_of))
    costs = _cost_model(propagation, builder)
    sites = find_factor_sites(program.graph_module, propagation)
    return Coupling(
        groups=groups,
        costs=costs,
        pins=tuple(dict.fromkeys(propagation.records.pins)),
        propagation=propagation,
        solution=solution,
        _by_name={group.name: group for group in groups},
        factor_costs=place_sites(sites, propagation, builder),
        _module=program.graph_module,
        branches=_read_branches(program, propagation),
    )


def _read_branches(program: Program, propagation: Propagation) -> Branches:
    """Return the branches of a program, with its residual blocks; kept ones are pinned."""
    graph = program.graph_module.graph
    macs = {term.node: float(term.total) for term in propagation.records.macs}
    blocks = pin_kept(find_blocks(graph, macs), program.constraints.keep)
    return replace(read_branches(graph), blocks=blocks)


def _ids_of(axes: Axes) -> list[IntArray]:
    return [factor.ids for axis in axes for factor in axis if factor.ids is not None]


def _cost_model(propagation: Propagation, builder: CostBuilder) -> CostModel:
    macs = [(float(term.total), _ids_of(term.channels)) for term in propagation.records.macs]
    grouped = {weight.tensor: weight for weight in propagation.records.grouped_weights}
    params: list[tuple[float, list[IntArray]]] = []
    size_bytes: list[tuple[float, list[IntArray]]] = []
    for name, axes in propagation.parameters.items():
        tensor = propagation.tensors[name]
        arrays = _ids_of(axes)
        if name in grouped:
            # The compact axis holds the inputs of one conv group.
            weight = grouped[name]
            others = [axis for i, axis in enumerate(axes) if i != weight.column_axis]
            arrays = [*_ids_of(tuple(others)), weight.columns]
        count = float(prod(tensor.shape))
        if propagation.is_parameter(name):
            params.append((count, arrays))
        size_bytes.append((count * tensor.element_size(), arrays))
    return builder.build(macs, params, size_bytes)
