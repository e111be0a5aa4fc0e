"""Journal: trials on disk, one line each, so that a search that was killed goes on."""

from __future__ import annotations

import json
from pathlib import Path

from compressc.errors import OutputError
from compressc.search.trials import Trial


class Journal:
    """Trials of one search; a line that was cut short by a crash is dropped.

    Args:
        path: the file; None to keep nothing.

    Raises:
        OutputError: if the file cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> dict[str, Trial]:
        """Return the trials by digest, and cut off a torn line at the end."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            content = self._path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            found = {}
            for line in whole.splitlines():
                trial = Trial.from_dict(json.loads(line))
                found[trial.digest] = trial
            if len(whole) < len(content):
                with self._path.open("r+b") as stream:
                    stream.truncate(len(whole))
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{self._path}: is no journal of trials ({error}); remove it to start afresh"
            ) from error
        return found

    def add(self, trial: Trial) -> None:
        """Append a trial; it survives the death of this process."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(trial.to_dict()) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror})") from error
