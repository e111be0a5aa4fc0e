"""Journal: trials on disk, one line each, so that a search that was killed goes on."""

from __future__ import annotations

from pathlib import Path

from compressc.errors import OutputError
from compressc.search.json_lines import append_line, cut_torn_line, read_lines
from compressc.search.trials import Trial


class Journal:
    """Trials of one search; a line that was cut short by a crash is dropped.

    Args:
        path: the file; None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> dict[str, Trial]:
        """Return the trials by digest, and cut off a torn line at the end.

        Raises:
            OutputError: if the file cannot be read, or is no journal.
        """
        if self._path is None or not self._path.exists():
            return {}
        try:
            trials = [Trial.from_dict(entry) for entry in read_lines(self._path)]
            cut_torn_line(self._path)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{self._path}: is no journal of trials ({error}); remove it to start afresh"
            ) from error
        return {trial.digest: trial for trial in trials}

    def add(self, trial: Trial) -> None:
        """Append a trial; it survives the death of this process.

        Raises:
            OutputError: if the file cannot be written.
        """
        if self._path is not None:
            append_line(self._path, trial.to_dict())
