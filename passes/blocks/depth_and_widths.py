"""Depth and widths together: how many blocks leave before the layers that stay are thinned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.passes.blocks.candidates import describe_dropped
from compressc.passes.blocks.removal import Amount, Errors, Removal, order_removals
from compressc.program import HistoryLine, Program


@dataclass(frozen=True, eq=False)
class Balance:
    """What was chosen.

    Attributes:
        program: with decisions about blocks and widths.
        removal: the blocks that left.
        width_error: what the layers that stay lose by being thinned.
        tried: for how many numbers of blocks widths were chosen.
    """

    program: Program
    removal: Removal
    width_error: float
    tried: int

    @property
    def error(self) -> float:
        """What is lost altogether."""
        return self.removal.error + self.width_error

    def explained(self, name: str) -> Program:
        """Return the program with a line of history that says what was weighed against what."""
        said = (
            f"{describe_dropped(self.program, self.removal.choice)}; error {self.error:.3g}, of "
            f"which {self.removal.error:.3g} by blocks, the rest by widths; {self.tried} depths "
            "were tried"
        )
        numbers = {
            "blocks_left_out": float(len(self.removal.names)),
            "block_error": self.removal.error,
            "width_error": self.width_error,
        }
        return self.program.with_line(HistoryLine(name, notes=(said,), numbers=numbers))


def balance_depth(
    program: Program,
    errors: Errors,
    amount: Amount,
    thin: Callable[[Program], Program],
    unit_errors: Mapping[str, FloatArray],
) -> Balance:
    """Return the program with as many blocks left out, and layers as thin, as lose least together.

    Blocks leave in the order of what they lose for what they save; after each the widths of what
    is left are chosen anew for the same goal. The errors of blocks and of units have one unit: the
    share of the variance of a layer's output (behind its residual sum) that least squares cannot
    repair. They are added up as if they did not depend on one another.

    Args:
        program: the original, with decisions pending or none.
        errors: of decisions about blocks.
        amount: what the network costs under decisions about blocks.
        thin: returns a program with widths for the goal, or raises GoalError.
        unit_errors: per group that is not pinned, per unit, as ``surgeon`` measures them.

    Raises:
        GoalError: if no number of blocks lets the widths meet the goal.
    """
    best: Balance | None = None
    failure: GoalError | None = None
    tried = 0
    for removal in order_removals(couple(program).branches.blocks, errors, amount):
        if best is not None and removal.error >= best.error:
            break
        start = program.with_plan(program.plan.with_choice(removal.choice))
        tried += 1
        try:
            thinned = thin(start)
        except GoalError as error:
            failure = error
            continue
        lost = _width_error(thinned, unit_errors)
        if best is None or removal.error + lost < best.error:
            best = Balance(thinned, removal, lost, tried)
        if not lost:
            break
    if best is None:
        assert failure is not None
        raise failure
    return Balance(best.program, best.removal, best.width_error, tried)


def _width_error(program: Program, unit_errors: Mapping[str, FloatArray]) -> float:
    """Return the errors of the units that leave, of groups that blocks leave at all."""
    keep = program.plan.keep
    return sum(
        float(unit_errors[group.name][~keep[group.name]].sum())
        for group in couple(program).free_groups(program.plan.choice)
        if group.name in keep and group.name in unit_errors
    )
