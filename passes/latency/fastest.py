"""The fastest plan within bounds on MACs, params or bytes, as far as a cost table knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compressc.array_types import FloatArray
from compressc.errors import GoalError
from compressc.passes.latency.search import LatencySearch
from compressc.passes.widths.choice import WidthRule, choose_widths
from compressc.program import HistoryLine, Program


def seek_fastest(
    search: LatencySearch,
    rule: WidthRule,
    importance: Mapping[str, FloatArray],
    circumstances: str,
) -> Program:
    """Return the faster one of the plan that is sought and of an even cut.

    The search weighs groups one by one. Where only cutting many of them together brings time, as
    in networks of a few channels, an even cut in the blocks of the runtime's layout can be faster.

    Args:
        search: without a latency to meet.
        rule: of the even cut.
        importance: per group that is not pinned, per unit.
        circumstances: of the prediction, for the note.

    Raises:
        GoalError: if the bounds are out of reach.
    """
    sought = search.trust(circumstances)
    program, model = search.program, search.allocator.model
    constraints = replace(program.constraints, multiple_of=model.table.block)
    # Constraints take the pending plan away; its zeros and ranks are not ours to decide.
    in_blocks = program.with_constraints(constraints).with_plan(replace(program.plan, keep={}))
    try:
        even = choose_widths(in_blocks, search.goal, rule, importance, search.name)
    except GoalError:
        return sought
    ms = model.latency_ms(model.counts_of(even.plan))
    if ms >= sought.history[-1].numbers["predicted_latency_ms"]:
        return sought
    note = f"an even cut is the fastest: {search.describe(ms)}, {circumstances}"
    remarks = [remark for step in even.history[len(program.history) :] for remark in step.notes]
    step = HistoryLine(search.name, notes=(note, *remarks), numbers=search.numbers(ms))
    return program.with_plan(even.plan).with_line(step)
