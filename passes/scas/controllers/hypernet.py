"""The controller of SMASH: random architectures, whose weights a network generates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import torch
from torch import Tensor, nn

from compressc.choices.branches import Choice, read_branches
from compressc.choices.space import SearchSpace
from compressc.passes.gradual.magnitude_masks import mask_smallest
from compressc.passes.gradual.prunable_weights import list_prunable_weights
from compressc.passes.scas.controllers.controller import Ground
from compressc.passes.scas.controllers.weight_generator import WeightGenerator
from compressc.passes.scas.generated_weights import GeneratedWeights
from compressc.passes.scas.supernet import Architecture
from compressc.program import Program
from compressc.search.repair import CandidateRepair
from compressc.store.identity import identify

# The most draws for each finalist that is to differ from the others.
_DRAWS = 20


class Hypernet:
    """Generates the weights of random architectures from an encoding of them.

    What is generated is pruned before the loss, so that the generator learns weights of which the
    largest few are enough. The architecture that does best with them is the result.

    Args:
        ground: what it works on.

    Source:
        SCAS, Algorithm 3; Brock et al., SMASH: One-Shot Model Architecture Search through
        HyperNetworks, ICLR 2018, sections 3.1 to 3.3.

    Deviations:
        Every weight behind a choice is generated, not only those of 1x1 convolutions; each has an
        embedding of its own beside the encoding, and weights of one shape share a linear layer.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        choices = ground.supernet.choices
        names = self.generated_weights_of(ground)
        state = ground.supernet.module.state_dict()
        first = {entry.name: 0 for entry in choices}
        encoding = torch.tensor(ground.space.encode(choices, first))
        self._generator = WeightGenerator(
            {name: tuple(state[name].shape) for name in names}, tuple(encoding.shape)
        )
        self._generator.to(next(ground.supernet.module.parameters()).device)

    @staticmethod
    def generated_weights(program: Program) -> frozenset[str]:
        """Return the weights that depend on a choice."""
        return _behind_choices(program)

    @staticmethod
    def generated_weights_of(ground: Ground) -> list[str]:
        """Return the same of a supernet in training, in its order."""
        pruned = ground.supernet.masks.masks
        return [name for name in ground.supernet.prunable if name not in pruned]

    def repair(self) -> CandidateRepair | None:
        """Return what generates the weights of candidates."""
        generate = _Generate(
            self._generator.cpu(),
            self._ground.space,
            self._ground.supernet.choices,
            self._ground.settings.sparsity,
            self._ground.settings.floor,
        )
        return GeneratedWeights(
            identify("generated weights", dict(self._generator.state_dict())), generate
        )

    @property
    def learners(self) -> nn.Module | None:
        """The generator."""
        return self._generator

    def propose(self) -> Architecture:
        """Return a random architecture."""
        return self._draw()

    def _draw(self) -> dict[str, int]:
        return {
            entry.name: int(torch.randint(entry.count, ()))
            for entry in self._ground.supernet.choices
        }

    def weights(self, architecture: Architecture, sparsity: float) -> Mapping[str, Tensor]:
        """Return the generated weights of an architecture, pruned."""
        generate = _Generate(
            self._generator,
            self._ground.space,
            self._ground.supernet.choices,
            sparsity,
            self._ground.settings.floor,
        )
        return generate({name: int(index) for name, index in architecture.items()})

    def learn(self, epoch: int) -> str:
        """Return how random architectures are proposed: nothing is learned about them."""
        del epoch
        return f"{len(self._ground.supernet.choices)} choices at random"

    def favourite(self) -> dict[str, int]:
        """Return the first candidate of every choice: no architecture is known to be better."""
        return {entry.name: 0 for entry in self._ground.supernet.choices}

    def finalists(self, count: int) -> list[dict[str, int]]:
        """Return different random architectures."""
        chosen: list[dict[str, int]] = []
        for _ in range(_DRAWS * count):
            choice = self._draw()
            if choice not in chosen:
                chosen.append(choice)
            if len(chosen) == count:
                break
        return chosen

    def state(self) -> dict[str, Any]:
        """Return nothing: the generator is among what learns by batches."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        del state


@dataclass(frozen=True, eq=False)
class _Generate:
    """Generates the pruned weights of an architecture."""

    generator: WeightGenerator
    space: SearchSpace
    choices: Sequence[Choice]
    sparsity: float
    floor: int

    def __call__(self, choice: Mapping[str, int]) -> dict[str, Tensor]:
        device = next(self.generator.parameters()).device
        encoding = torch.tensor(self.space.encode(self.choices, choice), device=device)
        weights = self.generator(encoding)
        return {
            name: weight * mask_smallest(weight, self.sparsity, self.floor)
            for name, weight in weights.items()
        }


def _behind_choices(program: Program) -> frozenset[str]:
    """Return the weights that no output reads but through a choice."""
    branches = read_branches(program.graph_module.graph)
    flow = nx.DiGraph()
    flow.add_nodes_from(branches.inputs)
    flow.add_edges_from(
        (source, node)
        for node, sources in branches.inputs.items()
        if node not in branches.places
        for source in sources
    )
    reached = set(branches.ends).union(*(nx.ancestors(flow, end) for end in branches.ends))
    always = {name for node, name in branches.tensors.items() if node in reached}
    return frozenset(list_prunable_weights(program)[0]) - always
