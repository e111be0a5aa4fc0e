"""A pass's result on disk, so that a run that was killed goes on behind it.

With the same program, settings, goal and data a pass returns the same again. So its result is kept
in a folder named by the digest of all these, and a later run that comes to the same point takes it
from there.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.errors import CompresscError
from compressc.program import HistoryLine, Program
from compressc.store.graph_record import is_same_graph
from compressc.store.identity import identify
from compressc.store.program_record import (
    apply_change,
    describe_change,
    describe_step,
    read_step,
)
from compressc.store.records import Record
from compressc.store.store import Store, remove_path

_KEY_LENGTH = 32
_RESULT = "result"
# What a record raises that is of another version or does not fit the program.
_UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, CompresscError)


class SavedPass:
    """The place on disk of one pass on one program.

    Args:
        work_dir: folder for the state of whole runs.
        program: what the pass is called with.
        method: the pass.
        settings: its hyper-parameters.
        context: what else the result depends on.

    Attributes:
        folder: of this pass; it may keep state of its own there while it runs.

    Raises:
        NoIdentityError: if another run could not know that it runs the same pass on the same data.
    """

    def __init__(
        self,
        work_dir: Path,
        program: Program,
        method: Pass,
        settings: Mapping[str, Any],
        context: Context,
    ) -> None:
        self._program = program
        self._settings = settings
        key = identify(
            "pass",
            context.original,
            program=program,
            passes=[method],
            goal=context.goal,
            task=context.task,
            seed=context.goal.seed,
            target=_target(method, context),
        )
        self.folder = work_dir / key[:_KEY_LENGTH]
        self._store = Store(self.folder, key)

    @property
    def exists(self) -> bool:
        """Whether there is a result, usable or not."""
        return self._store.has(_RESULT)

    def load(self) -> tuple[Program, HistoryLine] | None:
        """Return what the pass made of the program in an earlier run, None where that is damaged.

        Every part is checked: the digest of the file, and that plan and weights fit the program.
        """
        content = self._store.load(_RESULT)
        if content is None:
            return None
        try:
            record = Record.from_bytes(content)
            program = apply_change(self._program, record)
            step = read_step(record.document["step"])
        except _UNUSABLE:
            return None
        return program, replace(step, settings=self._settings)

    def save(self, result: Program, step: HistoryLine) -> str:
        """Write what the pass returned, and remove the state that it kept while it ran.

        Returns:
            Why the result cannot be kept; empty where it is.

        Raises:
            OutputError: if the file cannot be written.
        """
        try:
            change = describe_change(self._program, result)
            document = {**change.document, "step": describe_step(step)}
            record = Record(document, change.tensors)
            if document["graph"] is not None:
                # A graph that came back otherwise would give the passes behind it another start.
                again = apply_change(self._program, record)
                if not is_same_graph(again.graph_module, result.graph_module):
                    return "its graph does not come back as it was"
        except _UNUSABLE as error:
            return " ".join(str(error).split())
        self._store.save(_RESULT, record.to_bytes())
        self._store.keep_only(_RESULT)
        return ""


def remove_saved_passes(work_dir: Path) -> None:
    """Remove what runs kept in a folder, and the folder itself if nothing else is in it."""
    if not work_dir.is_dir():
        return
    for folder in list(work_dir.iterdir()):
        if len(folder.name) == _KEY_LENGTH and set(folder.name) <= set(string.hexdigits):
            remove_path(folder)
    if not any(work_dir.iterdir()):
        work_dir.rmdir()


def _target(method: Pass, context: Context) -> object:
    """Return what a latency is meant at; nothing where none is asked for."""
    if context.goal.latency_ms is None and method.declares.channel_step != "own":
        return None
    return context.target
