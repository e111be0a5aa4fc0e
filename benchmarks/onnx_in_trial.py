"""One file of the benchmark of imports, in a process of its own: prints JSON lines."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coverage_trial import Trial, halve
from onnx_in_files import OnnxFile, list_files

import compressc
from compressc.errors import CompresscError
from compressc.frontend.input_shape import parse_input_shape

_SESSION = """
import sys, time
import onnxruntime
imported = time.process_time()
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
seconds = time.process_time() - imported
# getrusage would tell the peak of the process that this one was forked from.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, int(status["VmHWM"].split()[0]) / 1024)
"""


class _Named:
    """What a Trial asks of a model."""

    def __init__(self, file: OnnxFile) -> None:
        self.key, self.family, self.shapes = file.key, file.kind, (file.shapes,)


def run_file(file: OnnxFile) -> dict[str, Any]:
    """Write or find the file, import it, halve its MACs, prove and export."""
    trial = Trial(_Named(file))  # type: ignore[arg-type]
    line = trial.line
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = file.prepare(Path(folder))
            line["file_bytes"] = path.stat().st_size
            line["session_seconds"], line["session_mib"] = _open_in_runtime(path)
            trial.done("build", "import")
            shapes = parse_input_shape(file.shapes) if file.shapes else None
            before = _peak_mib()
            started = time.process_time()
            program = compressc.load(path, input_shape=shapes)
            line["import_seconds"] = round(time.process_time() - started, 2)
            line["import_mib_over"] = round(_peak_mib() - before, 1)
        line["notes"] = [note for entry in program.history for note in entry.notes]
        halve(trial, program, save=False, onnx=True)
        stuck = [note for note in line["notes"] if "cannot all vary" in note]
        if line["batch"] == "fixed" and stuck:
            # The file takes any batch; what is written from it would not.
            line.update(ok=False, reason=stuck[-1])
    except CompresscError as error:
        line["reason"] = str(error)
        line["kind_of_error"] = type(error).__name__
    except Exception as error:  # noqa: BLE001 - a crash is a result of this benchmark
        line["reason"] = f"CRASH {type(error).__name__}: {str(error)[:300]}"
    return line


def _open_in_runtime(path: Path) -> tuple[float, float]:
    """Return processor seconds and peak MiB of opening the file in ONNX Runtime, measured alone."""
    command = [sys.executable, "-c", _SESSION, str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return round(float(printed[0]), 3), round(float(printed[1]), 1)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    torch.set_num_threads(1)
    key = parser.parse_args().file
    file = next(f for f in list_files() if f.key == key)
    sys.stdout.write(json.dumps(run_file(file), default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
