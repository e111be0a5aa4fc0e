"""Pending decisions, which passes that train a network while they decide cannot have."""

from __future__ import annotations

from compressc.errors import PlanError
from compressc.program import Program


def check_nothing_pending(program: Program, who: str) -> None:
    """Check that what is trained is what is there; zeros that the weights have may be pending.

    Raises:
        PlanError: if it is not.
    """
    plan = program.plan
    if plan.keep or plan.rank or set(plan.zero) - set(program.sparse_weights):
        raise PlanError(
            f"{who} trains the network as it is, but decisions are pending; put {who} first, or "
            "give it lower(program)"
        )
