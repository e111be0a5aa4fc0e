"""The file of a history: JSON lines, the head first, then one line per event as it happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compressc.errors import HistoryError
from compressc.search.history import (
    Event,
    Generation,
    History,
    Iteration,
    Note,
    ScoredPoint,
    SearchHead,
)
from compressc.search.json_lines import append_line, begin_lines, encode_line, read_lines
from compressc.search.trials import Trial
from compressc.writing import write_text

_FORMAT = "compressc-search-2"


class Recorder:
    """Keeps the history of a running search: in memory, and in a file that grows with it.

    A search that goes on from its journal of trials does again what it did, so the file of an
    earlier, interrupted run is begun anew.

    Attributes:
        history: so far.

    Args:
        head: what is known before the search.
        path: the file; None to keep none.

    Raises:
        OutputError: if the file cannot be written.
    """

    def __init__(self, head: SearchHead, path: Path | None = None) -> None:
        self.history, self._path = History(head), path
        if path is not None:
            begin_lines(path, _encode_head(head))

    def add(self, event: Event) -> None:
        """Add what happened.

        Raises:
            OutputError: if the file cannot be written.
        """
        self.history = self.history.with_event(event)
        if self._path is not None:
            append_line(self._path, _encode_event(event))


def write_history(path: Path, history: History) -> None:
    """Write a whole history as a recorder would have; all or nothing.

    Raises:
        OutputError: if the file cannot be written.
    """
    lines = [_encode_head(history.head), *(_encode_event(event) for event in history.events)]
    write_text(path, "".join(encode_line(line) for line in lines))


def read_history(path: Path) -> History:
    """Read a history; a last line that was cut short is left out.

    Raises:
        HistoryError: if the file is missing or no history.
    """
    try:
        head, *lines = read_lines(Path(path))
        if head.pop("format") != _FORMAT:
            raise ValueError("another format")
        head["coordinates"] = tuple(head["coordinates"])
        head["ends"] = tuple((float(whole), float(least)) for whole, least in head["ends"])
        events, trials = list[Event](), dict[str, Trial]()
        for line in lines:
            event = _decode_event(line, trials)
            if isinstance(event, Trial):
                trials[event.digest] = event
            events.append(event)
        return History(SearchHead(**head), tuple(events))
    except OSError as error:
        raise HistoryError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryError(f"{path}: is no history of a search ({error})") from error


def _encode_head(head: SearchHead) -> dict[str, Any]:
    return {"format": _FORMAT, **asdict(head)}


def _encode_event(event: Event) -> dict[str, Any]:
    match event:
        case Trial():
            return {"event": "trial", **event.to_dict()}
        case Generation():
            population = [
                {"digest": scored.trial.digest, "point": scored.point, "score": scored.score}
                for scored in event.population
            ]
            return {
                "event": "generation",
                "number": event.number,
                "trials": event.trials,
                "population": population,
            }
        case Iteration():
            return {"event": "iteration", **asdict(event)}
        case Note():
            return {"event": "note", "text": event.text}


def _decode_event(line: dict[str, Any], trials: Mapping[str, Trial]) -> Event:
    """Return the event of a line; the trials of a generation stand in lines before it."""
    kind = line["event"]
    if kind == "trial":
        return Trial.from_dict(line)
    if kind == "generation":
        population = tuple(
            ScoredPoint(tuple(entry["point"]), trials[entry["digest"]], entry["score"])
            for entry in line["population"]
        )
        return Generation(line["number"], line["trials"], population)
    if kind == "iteration":
        fields = {name: value for name, value in line.items() if name != "event"}
        return Iteration(**{**fields, "point": tuple(fields["point"])})
    if kind == "note":
        return Note(line["text"])
    raise ValueError(f"an event '{kind}' is unknown")
