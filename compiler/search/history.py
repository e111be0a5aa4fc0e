"""History: what a search tried, generation by generation, as a file that can be plotted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compressc.errors import HistoryError
from compressc.search.trials import pareto_front
from compressc.writing import write_text

_FORMAT = "compressc-search-1"


@dataclass(frozen=True)
class Candidate:
    """One candidate of a generation.

    Attributes:
        values: its hyper-parameters, one per coordinate of the space.
        digest: of its plan.
        metric: on held-out data.
        macs, params, size_bytes: of its cost.
        score: what the search maximises.
    """

    values: tuple[float, ...]
    digest: str
    metric: float
    macs: int
    params: int
    size_bytes: int
    score: float


@dataclass(frozen=True)
class Generation:
    """What one round of a search looked at.

    Attributes:
        number: 0 is the initial one.
        trials: evaluations spent since the search began.
        population: the candidates, in order.
    """

    number: int
    trials: int
    population: tuple[Candidate, ...]


@dataclass(frozen=True)
class History:
    """A whole search.

    Attributes:
        search: the pass.
        coordinates: names of the hyper-parameters.
        ends: per coordinate the value that changes nothing, and the one that compresses most.
        base_metric: of the original.
        base: costs of the original: macs, params, size_bytes.
        threshold: the metric below which the score is punished.
        settings: of the pass.
        generations: oldest first.
    """

    search: str
    coordinates: tuple[str, ...]
    ends: tuple[tuple[float, float], ...]
    base_metric: float
    base: Mapping[str, int]
    threshold: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    generations: tuple[Generation, ...] = ()

    def front(self, amount: str = "macs") -> tuple[tuple[float, float], ...]:
        """Return the Pareto front of (share of the original's cost, metric) over all candidates."""
        return pareto_front(
            (getattr(one, amount) / self.base[amount], one.metric)
            for generation in self.generations
            for one in generation.population
        )


def write_history(path: Path, history: History) -> None:
    """Write JSON lines: what was searched first, then one line per generation; all or nothing.

    Raises:
        OutputError: if the file cannot be written.
    """
    head = asdict(history)
    lines = [{"format": _FORMAT, **{k: v for k, v in head.items() if k != "generations"}}]
    lines += head["generations"]
    text = "".join(json.dumps(line, default=str) + "\n" for line in lines)
    write_text(path, text)


def read_history(path: Path) -> History:
    """Read what :func:`write_history` wrote.

    Raises:
        HistoryError: if the file is missing or no history.
    """
    try:
        head, *lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        if head.pop("format") != _FORMAT:
            raise ValueError("another format")
        head["coordinates"] = tuple(head["coordinates"])
        head["ends"] = tuple((float(a), float(b)) for a, b in head["ends"])
        return History(**head, generations=tuple(_generation(line) for line in lines))
    except OSError as error:
        raise HistoryError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(f"{path}: is no history of a search ({error})") from error


def _generation(line: dict[str, Any]) -> Generation:
    population = (
        Candidate(**{**entry, "values": tuple(entry["values"])}) for entry in line["population"]
    )
    return Generation(line["number"], line["trials"], tuple(population))
