"""Pricing: what a network takes of that which the search saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from compressc.contract.context import Context
from compressc.costs import Cost
from compressc.passes.latency.prediction import predict_from_table
from compressc.plan import Plan
from compressc.program import Program

Saved = Literal["macs", "params", "size_bytes", "latency"]
# What a plan takes, given its cost.
Price = Callable[[Plan, Cost], float]


def price_by_cost(what: str) -> Price:
    """Return the price that is one of the costs: macs, params or size_bytes."""
    return lambda _plan, cost: float(getattr(cost, what))


def price_by_program(program: Program, measure: Callable[[Program], float]) -> Price:
    """Return the price that a function gives a program with a plan pending."""
    return lambda plan, _cost: float(measure(program.with_plan(plan)))


def price_by_latency(program: Program, context: Context) -> Price:
    """Return the price that is a latency, as the cost table predicts it.

    Raises:
        GoalError: if the context's table is of another model.
        RuntimeFailure: if the model cannot be run.
    """
    model = predict_from_table(program, "p50", context)
    return lambda plan, _cost: model.latency_ms(model.counts_of(plan))
