"""Breeding: the part of ASCAI's settings that says how a population evolves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.errors import GoalError
from compressc.passes.ascai.variation import Variation

# Fewer individuals than this do not make a population.
_FEWEST = 4


@dataclass(frozen=True)
class Breeding:
    """How a population begins and evolves.

    Attributes:
        population: individuals per generation; fewer where the goal allows few trials.
        generations: after the initial one; the goal's trials and seconds may end it sooner.
        initialization: "warm" around what each layer bears, or "naive": anywhere.
        p_cross: probability that neighbours are crossed.
        p_swap: that a crossed pair exchanges a coordinate.
        p_mutate: that an individual is mutated.
        p_tweak: that a mutated individual's coordinate changes.
        elite: how many of the best go on unchanged.

    Raises:
        GoalError: if a number is out of range.
    """

    population: int = 50
    generations: int = 50
    initialization: Literal["warm", "naive"] = "warm"
    p_cross: float = 0.8
    p_swap: float = 0.3
    p_mutate: float = 0.8
    p_tweak: float = 0.1
    elite: int = 0

    def __post_init__(self) -> None:
        for what in ("p_cross", "p_swap", "p_mutate", "p_tweak"):
            if not 0 <= getattr(self, what) <= 1:
                raise GoalError(f"{what} {getattr(self, what):g}: a probability is from 0 to 1")
        if self.population < _FEWEST:
            raise GoalError(f"population {self.population}: at least {_FEWEST} are needed")
        if not 0 <= self.elite < self.population:
            raise GoalError(f"elite {self.elite}: must be below the population")
        if self.generations < 0:
            raise GoalError(f"generations {self.generations}: must be 0 or more")

    @property
    def variation(self) -> Variation:
        """The genetic operations."""
        return Variation(self.p_cross, self.p_swap, self.p_mutate, self.p_tweak)

    def size_within(self, trials: int | None) -> int:
        """Return how many individuals a generation has under a budget of trials, or none."""
        if trials is None:
            return self.population
        return min(self.population, max(_FEWEST, trials // 5))
