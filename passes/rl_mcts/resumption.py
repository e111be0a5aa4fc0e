"""Resumption: the history of a search that goes on, and where it goes on from."""

from __future__ import annotations

from pathlib import Path

from compressc.errors import HistoryError
from compressc.passes.rl_mcts.standing import Saved, load_standing
from compressc.search.history import Event, SearchHead
from compressc.search.history_file import Recorder, read_history
from compressc.store.store import Store


def open_history(head: SearchHead, store: Store | None, name: str) -> tuple[Recorder, Saved | None]:
    """Return the history of a search, and where an earlier run of it was, if there was one.

    Events that happened after that are left out: they will happen again.

    Args:
        head: of the search.
        store: of the search, or None to keep nothing.
        name: of the file.

    Raises:
        OutputError: if the file cannot be written.
    """
    if store is None:
        return Recorder(head), None
    path = store.path(name, "jsonl")
    saved = load_standing(store)
    events = _read_events(path) if saved is not None else ()
    if saved is not None and len(events) < saved.standing.events:
        saved = None
    recorder = Recorder(head, path)
    for event in events[: saved.standing.events] if saved is not None else ():
        recorder.add(event)
    return recorder, saved


def _read_events(path: Path) -> tuple[Event, ...]:
    try:
        return read_history(path).events
    except HistoryError:
        return ()
