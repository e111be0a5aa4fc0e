"""Entering: what a door does with a file, and whether that is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.doors import Door
from tests.fuzz.right_files import NAME
from tests.fuzz.sandbox import Outcome, judge, run_in_child


@dataclass(frozen=True)
class Entry:
    """What became of a file at a door.

    Attributes:
        outcome: of the child that read it.
        wrong: what is wrong with that; empty for a result or a clear refusal.
    """

    outcome: Outcome
    wrong: str


def enter(door: Door, content: bytes, folder: Path) -> Entry:
    """Hand a file to a door in a new folder."""
    folder.mkdir()
    door.beside(folder)
    path = folder / f"{NAME}{door.suffix}"
    path.write_bytes(content)
    before = set(folder.iterdir())
    outcome = run_in_child(door.enter(path), folder)
    wrong = judge(outcome, folder)
    new = {p.name for p in set(folder.iterdir()) - before}
    if not wrong and outcome.code and "out.onnx" in new:
        wrong = "an output beside an error"
    said = outcome.err.strip().splitlines()[-3:]
    return Entry(outcome, f"{wrong}: {' / '.join(said)}" if wrong else "")
