"""Training state: what lies on disk between epochs, so that a killed run goes on from there."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from compressc.errors import OutputError
from compressc.writing import write_atomically


class StateFile:
    """The file of one run: its name carries the run's identity, so runs never mix.

    Attributes:
        path: in the folder for state.
    """

    def __init__(self, folder: Path, name: str, identity: str) -> None:
        self.path = folder / f"{name}-{identity[:16]}.pt"
        self._identity = identity

    def read(self) -> dict[str, Any] | None:
        """Return the state after the last finished epoch, or None where there is none.

        Raises:
            OutputError: if the file cannot be read, or holds the state of another run.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise OutputError(
                f"{self.path}: cannot be read as the state of a training run "
                f"({type(error).__name__}); delete it to train anew"
            ) from error
        if state.get("identity") != self._identity:
            raise OutputError(f"{self.path}: is the state of another run; delete it to train anew")
        return state

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the state on disk by this one, all of it or nothing.

        Raises:
            OutputError: if it cannot be written; the state of the epoch before is kept.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path.parent}: cannot be made ({error.strerror}); choose another --work-dir"
            ) from error
        # By way of memory: torch hides why it could not write to a file.
        buffer = io.BytesIO()
        torch.save({**state, "identity": self._identity}, buffer)
        write_atomically(self.path, lambda path: path.write_bytes(buffer.getbuffer()))
