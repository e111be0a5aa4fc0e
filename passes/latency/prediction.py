"""Prediction: the latency of a program's plans, from this machine's kernels or a device's table."""

from __future__ import annotations

from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.latency.block_kernels import find_block_kernels
from compressc.latency.latency_model import LatencyModel, build_latency_model
from compressc.latency.network_listing import find_listing, list_program
from compressc.program import Program
from compressc.runtime.cost_store import table_for


def predict_from_table(program: Program, percentile: str, context: Context) -> LatencyModel:
    """Return what predicts the latency of a program under its keep plans.

    Kernels of blocks that the pending plan leaves out are not counted.

    Args:
        program: the original.
        percentile: of the calls, such as "p50".
        context: its cost table counts, else kernels are measured here (and remembered).

    Raises:
        GoalError: if the table is of another model.
        RuntimeFailure: if the model cannot be run.
    """
    target, table = context.target, context.target.cost_table
    if table is not None:
        kernels = find_listing(table, couple(program))
    else:
        kernels = program.once(
            ("kernels", target.threads, target.batch),
            lambda: list_program(program, target.threads, target.batch),
        )
        table = table_for(kernels, target.threads, progress=context.progress)
    measured_ms = kernels.latency_ms.get(percentile)
    model = build_latency_model(couple(program), kernels, table, measured_ms)
    dropped = couple(program).branches.dropped(program.plan.choice)
    places = find_block_kernels(kernels.kernels, dropped)
    return model.without(frozenset().union(*places.values())) if dropped else model
