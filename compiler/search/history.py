"""History: what a search did, as a list of events, and the generations that can be seen in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from compressc.search.trials import Trial, pareto_front


@dataclass(frozen=True)
class SearchHead:
    """What is known before a search begins.

    Attributes:
        search: the pass.
        coordinates: names of the hyper-parameters.
        ends: per coordinate the value that changes nothing, and the one that compresses most.
        base_metric: of the original.
        base: costs of the original: macs, params, size_bytes.
        threshold: the metric below which the score is punished.
        settings: of the pass.
    """

    search: str
    coordinates: tuple[str, ...]
    ends: tuple[tuple[float, float], ...]
    base_metric: float
    base: Mapping[str, int]
    threshold: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredPoint:
    """A point of the search space, the trial of its plan, and what it is worth to the search.

    Attributes:
        point: one value per coordinate. Where several points stand for one plan, the trial keeps
            the point that came first.
        trial: of the plan that the point stands for.
        score: what the search maximises.
    """

    point: tuple[float, ...]
    trial: Trial
    score: float


@dataclass(frozen=True)
class Generation:
    """What one round of a search looked at.

    Attributes:
        number: 0 is the initial one.
        trials: evaluations spent since the search began.
        population: the points, in order.
    """

    number: int
    trials: int
    population: tuple[ScoredPoint, ...]


@dataclass(frozen=True)
class Iteration:
    """What one round of a search that plays games against a baseline came to.

    Attributes:
        number: 1 is the first; counted through all segments.
        segment: of the way to the goal, 1 is the first.
        trials: evaluations spent since the search began.
        baseline: the score that the games after this round have to beat.
        best: the best score of the segment so far.
        value_error: mean squared error of the worth that the network expected in these games.
        point: of the best so far, one value per coordinate.
    """

    number: int
    segment: int
    trials: int
    baseline: float
    best: float
    value_error: float
    point: tuple[float, ...]


@dataclass(frozen=True)
class Note:
    """A remark for people, at the place in the history where it belongs."""

    text: str


Event = Trial | Generation | Iteration | Note


@dataclass(frozen=True)
class History:
    """A whole search: its head, and what happened, oldest first."""

    head: SearchHead
    events: tuple[Event, ...] = ()

    def with_event(self, event: Event) -> History:
        """Return the history with one more event."""
        return replace(self, events=(*self.events, event))

    @cached_property
    def generations(self) -> tuple[Generation, ...]:
        """The rounds of a search that goes in rounds, oldest first."""
        return tuple(event for event in self.events if isinstance(event, Generation))

    @cached_property
    def iterations(self) -> tuple[Iteration, ...]:
        """The rounds of a search that plays games, oldest first."""
        return tuple(event for event in self.events if isinstance(event, Iteration))

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every evaluated candidate, oldest first."""
        return tuple(event for event in self.events if isinstance(event, Trial))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The remarks."""
        return tuple(event.text for event in self.events if isinstance(event, Note))

    def front(self, what: str = "macs") -> tuple[tuple[float, float], ...]:
        """Return the Pareto front of (share of the original's cost, metric) over all generations.

        Args:
            what: the cost: macs, params or size_bytes.
        """
        return pareto_front(
            (getattr(scored.trial.cost, what) / self.head.base[what], scored.trial.metric)
            for generation in self.generations
            for scored in generation.population
        )
