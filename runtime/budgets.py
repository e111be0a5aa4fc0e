"""Budgets: what reading or running a file may cost, however much it asks for.

A file can claim an array of any size or a loop of any length in a few bytes. What is larger than
a budget is refused in one line; who needs more sets the environment variable that the line names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from compressc.runtime.errors import RuntimeFailure

_GIGA = 10**9


@dataclass(frozen=True)
class Budget:
    """One limit that the environment may move.

    Attributes:
        variable: of the environment.
        usual: the limit where it is not set.
        unit: for people.
    """

    variable: str
    usual: float
    unit: str

    def limit(self) -> float:
        """Return the limit now.

        Raises:
            RuntimeFailure: if the variable is no positive number.
        """
        text = os.environ.get(self.variable, "")
        if not text:
            return self.usual
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise RuntimeFailure(
                f"{self.variable}={text}: give a number of {self.unit} above 0, such as "
                f"{self.usual:g}"
            )
        return value

    @property
    def advice(self) -> str:
        """How to allow more."""
        return f"set {self.variable} to more {self.unit} than {self.limit():g} if that is meant"


MEMORY = Budget("COMPRESSC_MEMORY_GB", 4.0, "gigabytes")
RUN_TIME = Budget("COMPRESSC_RUN_SECONDS", 300.0, "seconds")


def check_bytes(what: str, amount: int) -> None:
    """Refuse something that would take too much memory, before it is made.

    Args:
        what: it is, for the message.
        amount: of bytes; may be larger than any machine word.

    Raises:
        RuntimeFailure: if that is over the budget.
    """
    if amount > MEMORY.limit() * _GIGA:
        size = f"{amount / _GIGA:.3g}" if amount < 10**300 else "over 1e291"
        raise RuntimeFailure(f"{what} would take {size} GB of memory; {MEMORY.advice}")
