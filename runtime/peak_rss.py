"""Peak memory of one model, measured in a process of its own.

The peak of a process that runs several models, or that holds torch, says nothing about any one of
them. So ``measure_peak_rss`` starts ``python -m compressc.runtime.peak_rss``, which imports
nothing but numpy and onnxruntime, and reads the peak there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Shapes

_RUNS = 3
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class PeakRss:
    """Memory of a process that opened one model and ran it a few times.

    Attributes:
        peak_rss_bytes: the most resident memory the whole process ever had.
        baseline_rss_bytes: the same before the model was opened: Python, numpy, onnxruntime.
    """

    peak_rss_bytes: int
    baseline_rss_bytes: int


def measure_peak_rss(
    path: str | Path, threads: int = 1, batch: int = 1, shapes: Shapes | None = None
) -> PeakRss:
    """Open and run a model in a fresh process and return its peak resident memory.

    Raises:
        RuntimeFailure: if the process cannot be started, fails, or takes over ten minutes.
    """
    request = {
        "path": str(path),
        "threads": threads,
        "batch": batch,
        "shapes": {
            name: size if isinstance(size, int) else list(size)
            for name, size in (shapes or {}).items()
        },
    }
    command = [sys.executable, "-m", "compressc.runtime.peak_rss", json.dumps(request)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        return PeakRss(**answer)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, TypeError) as error:
        raise RuntimeFailure(
            f"{path}: its peak memory could not be measured in a separate process "
            f"({type(error).__name__}); the other numbers stand"
        ) from error


def read_peak_rss() -> int:
    """Return the peak resident memory of this process in bytes.

    On Linux this is VmHWM, not ``getrusage``: the kernel carries ``ru_maxrss`` of a parent over
    fork and exec, so a child of a large process would report the parent's memory as its own.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # Missing on Windows, where the caller then reports that the peak is unknown.
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: Sequence[str]) -> int:
    """Measure the one model described by the JSON argument and write the answer as JSON."""
    from compressc.runtime.inputs import make_inputs
    from compressc.runtime.session import open_session, run_session

    request = json.loads(arguments[0])
    baseline = read_peak_rss()
    session = open_session(request["path"], request["threads"])
    feeds = make_inputs(session, request["batch"], overrides=request["shapes"])
    for _ in range(_RUNS):
        run_session(session, feeds, request["path"])
    sys.stdout.write(json.dumps(asdict(PeakRss(read_peak_rss(), baseline))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
