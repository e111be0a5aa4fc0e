"""Proposals: plans of closed-form passes, with which a search begins; it never ends below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressc.contract.context import Context
from compressc.errors import GoalError
from compressc.passes.latency.fastest import seek_fastest
from compressc.passes.latency.meeting import LatencyRule, describe_prediction, open_search
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.passes.widths.choice import WidthRule, choose_widths
from compressc.passes.widths.error_widths import choose_by_errors
from compressc.plan import Plan
from compressc.program import Program

# Share of a group that magnitude and latency leave, as the passes of these names do.
_FLOOR = 0.125


@dataclass(frozen=True)
class Proposal:
    """A plan within the bounds.

    Attributes:
        source: the pass that proposes it.
        plan: that it proposes.
    """

    source: str
    plan: Plan


def propose_plans(
    space: SearchSpace, context: Context, samples: UnitSamples, *, by_latency: bool
) -> list[Proposal]:
    """Return what ``surgeon``, ``magnitude`` and ``latency`` propose for the bounds of the goal.

    Nothing without bounds, or where the search does not decide on channels. A pass that cannot
    meet the bounds, which ranks may help to meet, proposes nothing.

    Args:
        space: of the search.
        context: of the search.
        samples: for ``surgeon``.
        by_latency: whether there is a cost table to ask ``latency``.

    Raises:
        DataError: if the task gives no samples.
    """
    goal, program = context.goal, space.program
    if not goal.bounds or "ps" not in space.methods:
        return []

    def by_errors() -> Program:
        errors = measure_feature(program, "reconstruction", samples, context.progress)
        return choose_by_errors(program, goal, WidthRule("global", (), 0.0), errors, "surgeon")

    def by_size() -> Program:
        norms = measure_feature(program, "l2")
        rule = WidthRule("uniform", (), _FLOOR)
        return choose_widths(program, goal, rule, norms, "magnitude")

    def by_kernels() -> Program:
        norms = measure_feature(program, "l2")
        rule = LatencyRule("uniform", _FLOOR, 0)
        search = open_search(program, context, norms, rule, "latency")
        if search.bound is not None:
            return search.trust(describe_prediction(context))
        even = WidthRule("uniform", (), _FLOOR)
        return seek_fastest(search, even, norms, describe_prediction(context))

    makers: dict[str, Callable[[], Program]] = {"surgeon": by_errors, "magnitude": by_size}
    if by_latency:
        makers["latency"] = by_kernels
    proposals = []
    for source, make in makers.items():
        try:
            proposals.append(Proposal(source, make().plan))
        except GoalError:
            continue
    return proposals
