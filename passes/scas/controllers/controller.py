"""The controller: what proposes architectures, and learns from how they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from compressc.choices.space import SearchSpace
from compressc.passes.scas.settings import ScasSettings
from compressc.passes.scas.supernet import Architecture, Supernet
from compressc.program import Program
from compressc.search.repair import CandidateRepair
from compressc.tasks.protocol import Task


@dataclass(frozen=True, eq=False)
class Ground:
    """What a controller works on.

    Attributes:
        supernet: with the shared weights, which are pruned and fixed while a controller learns.
        task: its search-validation split says how an architecture does.
        space: reads architectures.
        settings: hyper-parameters.
        seed: of everything random.
    """

    supernet: Supernet
    task: Task
    space: SearchSpace
    settings: ScasSettings
    seed: int


class SharedWeights:
    """What a controller says whose architectures all share the weights of the supernet."""

    @staticmethod
    def generated_weights(program: Program) -> frozenset[str]:
        """Return nothing: none is given by the controller."""
        del program
        return frozenset()

    def repair(self) -> CandidateRepair | None:
        """Return None: candidates have no weights of their own."""
        return None

    @property
    def learners(self) -> nn.Module | None:
        """Nothing else learns by batches of the training split."""
        return None

    def weights(self, architecture: Architecture, sparsity: float) -> Mapping[str, Tensor]:
        """Return nothing: no weight takes the place of a shared one."""
        del architecture, sparsity
        return {}


class Controller(Protocol):
    """Proposes architectures.

    The weights learn by batches, each through what :meth:`propose` says; after every epoch they
    are pruned, and :meth:`learn` is called. Torch's generator is seeded before each of both.
    """

    def __init__(self, ground: Ground) -> None: ...

    @staticmethod
    def generated_weights(program: Program) -> frozenset[str]:
        """Return the weights of a supernet that :meth:`weights` gives; none for most."""
        ...

    def repair(self) -> CandidateRepair | None:
        """Return what gives architectures weights of their own; None where they share all."""
        ...

    @property
    def learners(self) -> nn.Module | None:
        """What learns along with the shared weights, by the same loss; None for nothing."""
        ...

    def propose(self) -> Architecture:
        """Return what the next batch runs through."""
        ...

    def weights(self, architecture: Architecture, sparsity: float) -> Mapping[str, Tensor]:
        """Return weights that take the place of shared ones, pruned; empty for none.

        Args:
            architecture: a child.
            sparsity: share of zeros in each of them.
        """
        ...

    def learn(self, epoch: int) -> str:
        """Learn from how architectures do with pruned weights; return what was seen, in short.

        Raises:
            ControllerError: if what it learned is no number.
        """
        ...

    def favourite(self) -> dict[str, int]:
        """Return the architecture that it would choose now."""
        ...

    def finalists(self, count: int) -> list[dict[str, int]]:
        """Return up to ``count`` different architectures to choose from, its favourite first."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that it goes on from (shared, not copied)."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        ...
