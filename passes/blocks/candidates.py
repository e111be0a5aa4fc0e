"""Candidates: the blocks of a network that may leave, and which of them did, in words."""

from __future__ import annotations

from collections.abc import Mapping

from compressc.coupling.graph import couple
from compressc.errors import ChoiceError
from compressc.program import Program

_SHOWN = 12


def check_blocks(program: Program, name: str) -> None:
    """Check that there is a residual block that may leave.

    Args:
        program: any.
        name: the pass, for the error.

    Raises:
        ChoiceError: if there is none.
    """
    blocks = couple(program).branches.blocks
    if not blocks:
        raise ChoiceError(
            f"{name}: the network has no residual block, which is a sum whose one side can carry "
            "the value alone; thin its layers instead, such as with --pass surgeon"
        )
    if all(block.pinned is not None for block in blocks):
        raise ChoiceError(
            f"{name}: every residual block has to stay ({blocks[0].pinned}, ...); keep fewer layers"
        )


def describe_dropped(program: Program, choice: Mapping[str, int]) -> str:
    """Return which blocks decisions leave out, in words."""
    branches = couple(program).branches
    gone = [block.name for block in branches.dropped(choice)]
    if not gone:
        return f"all {len(branches.blocks)} blocks stay"
    more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
    listed = ", ".join(gone[:_SHOWN]) + more
    return f"{len(gone)} of {len(branches.blocks)} blocks are left out: {listed}"
