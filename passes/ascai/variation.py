"""Selection, crossover and mutation: from one population to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressc.array_types import FloatArray
from compressc.passes.spaces.search_space import SearchSpace

_SPREAD = 0.2


@dataclass(frozen=True)
class Variation:
    """The probabilities of genetic operations.

    Attributes:
        p_cross: that a pair of neighbours is crossed.
        p_swap: that a crossed pair exchanges a coordinate.
        p_mutate: that an individual is mutated.
        p_tweak: that a mutated individual's coordinate changes.
    """

    p_cross: float
    p_swap: float
    p_mutate: float
    p_tweak: float

    def breed(
        self,
        space: SearchSpace,
        population: FloatArray,
        scores: FloatArray,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Return the next population, as many individuals; shape (individuals, coordinates)."""
        chosen = population[select(scores, rng)]
        return space.clip(self.mutate(space, self.cross(chosen, rng), rng))

    def cross(self, population: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Exchange coordinates between the first and second, third and fourth individual, ..."""
        crossed = population.copy()
        for first in range(0, len(population) - 1, 2):
            if rng.random() < self.p_cross:
                swapped = rng.random(population.shape[1]) < self.p_swap
                crossed[first, swapped] = population[first + 1, swapped]
                crossed[first + 1, swapped] = population[first, swapped]
        return crossed

    def mutate(
        self, space: SearchSpace, population: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """Change coordinates at random: shares by N(0, 0.2), rank steps by +1 or -1.

        Results may lie outside of the space; ``breed`` clips them.
        """
        mutated = rng.random((len(population), 1)) < self.p_mutate
        tweaked = mutated & (rng.random(population.shape) < self.p_tweak)
        steps = np.where(rng.random(population.shape) < 0.5, -1.0, 1.0)
        noise = rng.normal(0.0, _SPREAD, population.shape)
        change = np.where(space.discrete, steps, noise)
        result: FloatArray = population + np.where(tweaked, change, 0.0)
        return result


def select(scores: FloatArray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many individuals as there are, with replacement, by how far they beat the worst.

    Where all score alike, all are as likely.
    """
    worth = scores - scores.min()
    total = worth.sum()
    probability = worth / total if total > 0 else None
    return rng.choice(len(scores), size=len(scores), replace=True, p=probability)
