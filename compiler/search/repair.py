"""Repair: what a search may do to the weights of a candidate before it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from compressc.coupling.graph import Coupling
from compressc.plan import Plan


class CandidateRepair(Protocol):
    """Gives the weights that stay new values, without data and within milliseconds.

    It travels to other processes with the judge, so it can be pickled.
    """

    @property
    def identity(self) -> str:
        """A digest of what it was made from, which counts in the identity of a search."""
        ...

    def mend(
        self, state: Mapping[str, Tensor], coupling: Coupling, plan: Plan
    ) -> dict[str, Tensor]:
        """Return the tensors that change before a plan is applied, in their original shapes.

        Args:
            state: parameters and buffers of the original, by name; not to be changed.
            coupling: of the original.
            plan: fits the coupling.
        """
        ...
