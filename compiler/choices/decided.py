"""Whether a program is a network: no architecture choice left open."""

from __future__ import annotations

from compressc.choices.branches import read_branches
from compressc.errors import ChoiceError
from compressc.program import Program

_SHOWN = 3


def check_decided(program: Program) -> None:
    """Check that nothing is left to choose.

    Raises:
        ChoiceError: naming what is.
    """
    names = [choice.name for choice in read_branches(program.graph_module.graph).choices]
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ChoiceError(
            f"{len(names)} architecture choice(s) are undecided ({', '.join(names[:_SHOWN])}"
            f"{more}), so there is no network yet; decide them (Plan.choice, or --pass scas) and "
            "lower the program"
        )
