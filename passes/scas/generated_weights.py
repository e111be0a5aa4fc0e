"""Generated weights as a repair of candidates, so that they can be ranked on any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from compressc.coupling.graph import Coupling
from compressc.plan import Plan


@dataclass(frozen=True, eq=False)
class GeneratedWeights:
    """Gives every candidate the weights that are generated for its choices.

    Attributes:
        identity: a digest of what generates them.
        generate: returns weights by name for choices; can be pickled.
    """

    identity: str
    generate: Callable[[Mapping[str, int]], Mapping[str, Tensor]]

    def mend(
        self, state: Mapping[str, Tensor], coupling: Coupling, plan: Plan
    ) -> dict[str, Tensor]:
        """Return the generated weights of a plan's choices."""
        del state, coupling
        return {name: tensor.detach().cpu() for name, tensor in self.generate(plan.choice).items()}
