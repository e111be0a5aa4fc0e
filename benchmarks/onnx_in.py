"""ONNX in: half the MACs, with proof, on ONNX files of every origin.

The files: every network of compressc and of the coverage benchmark, written by both of torch's
exporters; trained files that ship inside packages (rapidocr-onnxruntime, magika, silero-vad,
basic-pitch); the light networks of the onnx package, with seeded weights; one written by Keras
through tf2onnx and one by scikit-learn through skl2onnx. Each runs in a process of its own with a
time limit; its line is appended as it ends, so an interrupted run goes on where it stopped.

    python benchmarks/onnx_in.py -o benchmarks/onnx_in.jsonl
    python benchmarks/onnx_in.py --only 'own:*' -o /tmp/own.jsonl
    python benchmarks/onnx_in.py --small -o /tmp/small.jsonl    # as CI does

Exits with 1 if a file that ran did not reach it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

from coverage import append_line, call_trial
from onnx_in_files import OnnxFile, list_files

_TRIAL = Path(__file__).with_name("onnx_in_trial.py")
# Seconds on the clock for one of the processor.
_PATIENCE = 6
_SMALL = ("own:lenet5:*", "own:resnet20:*", "own:digits_resnet:*")


def main() -> None:
    """Run what is not in the output file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of keys")
    parser.add_argument("--small", action="store_true", help="a few files, as CI does")
    parser.add_argument("--limit", type=int, default=240, help="processor seconds for one file")
    arguments = parser.parse_args()
    patterns = _SMALL if arguments.small else arguments.only
    done = set()
    if arguments.output.exists():
        lines = arguments.output.read_text().splitlines()
        done = {json.loads(text)["model"] for text in lines}
    reached = True
    for file in list_files():
        if file.key not in done and any(fnmatchcase(file.key, p) for p in patterns):
            reached = _run(file, arguments) and reached
    sys.exit(not reached)


def _run(file: OnnxFile, arguments: argparse.Namespace) -> bool:
    started = time.perf_counter()
    # A file must not fail because others share the machine, nor wait for ever.
    command = ["prlimit", f"--cpu={arguments.limit}", sys.executable, str(_TRIAL), file.key]
    line = call_trial(command, _PATIENCE * arguments.limit)
    line = {"model": file.key, "ok": False, "stage": "start", "tool": "compressc", **line}
    line["commit"] = os.environ.get("COVERAGE_COMMIT", "")
    line["wall_seconds"] = round(time.perf_counter() - started, 1)
    return bool(append_line(arguments.output, line)["ok"])


if __name__ == "__main__":
    main()
