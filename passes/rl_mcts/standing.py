"""Standing: where a search is, as a value that survives its death."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from compressc.array_types import BoolArray
from compressc.passes.rl_mcts.arena import Champion
from compressc.search.trials import Trial
from compressc.store.records import pack_state, unpack_state
from compressc.store.store import Store

_NAME = "rl-mcts"


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a search is between two iterations; the trees of an iteration are not needed there.

    Attributes:
        segment: that is being searched, from 0.
        iteration: of the segment that comes next, from 0.
        failures: iterations in a row that did not beat the baseline.
        root: units that were left when the segment began, shape (units,).
        baseline: the score that has to be beaten.
        best: of the segment, or None where it is not opened yet.
        iterations: in all segments so far.
        charged: candidates that the evaluator had judged when the segment began.
        events: of the history so far.
        first_event: of those that the evaluator of now knows; not 0 after training.
    """

    segment: int
    iteration: int
    failures: int
    root: BoolArray
    baseline: float
    best: Champion | None
    iterations: int = 0
    charged: int = 0
    events: int = 0
    first_event: int = 0


@dataclass(frozen=True, eq=False)
class Saved:
    """A standing with everything that learns.

    Attributes:
        standing: where the search is.
        learned: states of the network, its optimizer and its queue.
        retrained: weights and features after training between segments; empty without it.
    """

    standing: Standing
    learned: Mapping[str, Any]
    retrained: Mapping[str, Any] = field(default_factory=dict)


def save_standing(store: Store, saved: Saved) -> None:
    """Put a search on disk.

    Raises:
        OutputError: if it cannot be written.
    """
    standing, best = saved.standing, saved.standing.best
    content = {
        "place": [
            standing.segment,
            standing.iteration,
            standing.failures,
            standing.iterations,
            standing.charged,
            standing.events,
            standing.first_event,
        ],
        "root": torch.from_numpy(standing.root.copy()),
        "baseline": standing.baseline,
        "best": None
        if best is None
        else [torch.from_numpy(best.kept.copy()), best.trial.to_dict(), best.score],
        "learned": dict(saved.learned),
        "retrained": dict(saved.retrained),
    }
    store.save(_NAME, pack_state(content))


def load_standing(store: Store) -> Saved | None:
    """Return the search that was saved, None where there is none or it is damaged."""
    content = unpack_state(store.load(_NAME))
    if content is None:
        return None
    segment, iteration, failures, *counts = content["place"]
    best = content["best"]
    champion = None
    if best is not None:
        champion = Champion(best[0].numpy(), Trial.from_dict(best[1]), best[2])
    standing = Standing(
        segment,
        iteration,
        failures,
        content["root"].numpy(),
        content["baseline"],
        champion,
        *counts,
    )
    return Saved(standing, content["learned"], content["retrained"])
