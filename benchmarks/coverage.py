"""Coverage: half the MACs, with proof, on foreign models of every family we know.

Each model runs in a process of its own with a time limit. One JSON line per model and tool is
appended to the output file as it ends, so an interrupted run goes on where it stopped. The variable
COVERAGE_COMMIT, where set, is noted in every line.

    python benchmarks/coverage.py --with-torch-pruning -o benchmarks/coverage.jsonl
    python benchmarks/coverage.py --no-onnx --only 'timm:*vit*' -o /tmp/vit.jsonl
    python benchmarks/coverage.py --small -o /tmp/small.jsonl    # as CI does

Exits with 1 if a model that ran did not reach it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from coverage_models import SMALL, ForeignModel, list_models

_TRIAL = Path(__file__).with_name("coverage_trial.py")
_STRIDE = 8
_OURS, _THEIRS = "compressc", "torch-pruning"


def main() -> None:
    """Run what is not in the output file yet."""
    arguments = _parse()
    done = set(_finished(arguments.output))
    tools = [_OURS, _THEIRS] if arguments.with_torch_pruning else [_OURS]
    tools = [_THEIRS] if arguments.only_torch_pruning else tools
    jobs = [
        (model, tool)
        for model in spread(list_models())
        for tool in tools
        if any(fnmatchcase(model.key, pattern) for pattern in arguments.only)
        and (model.key in SMALL or not arguments.small)
        and (model.key, tool) not in done
    ][:: arguments.every]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        running = [pool.submit(_run, model, tool, arguments) for model, tool in jobs]
        lines = [append_line(arguments.output, ended.result()) for ended in as_completed(running)]
    sys.exit(any(not line["ok"] for line in lines if line["tool"] == _OURS))


def spread(models: Sequence[ForeignModel]) -> list[ForeignModel]:
    """Return the models so that any beginning of the list spreads over libraries and families."""
    return [model for start in range(_STRIDE) for model in models[start::_STRIDE]]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of library:model")
    parser.add_argument("--small", action="store_true", help="a dozen models, as CI does")
    parser.add_argument("--every", type=int, default=1, help="run every n-th model")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one model")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--no-onnx", action="store_true", help="skip ONNX and ONNX Runtime")
    parser.add_argument("--no-save", action="store_true", help="skip the .pt2 archive")
    parser.add_argument("--with-torch-pruning", action="store_true")
    parser.add_argument("--only-torch-pruning", action="store_true")
    return parser.parse_args()


def _finished(path: Path) -> Iterator[tuple[str, str]]:
    if path.exists():
        for text in path.read_text().splitlines():
            line = json.loads(text)
            yield line["model"], line["tool"]


def append_line(path: Path, line: dict[str, Any]) -> dict[str, Any]:
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    share = line.get("macs_ratio")
    verdict = "ok" if line["ok"] else f"{line['stage']}: {line.get('reason', '')[:150]}"
    sys.stdout.write(f"{line['tool']:14} {line['model']:46} {share!s:7} {verdict}\n")
    sys.stdout.flush()
    return line


def _run(model: ForeignModel, tool: str, arguments: argparse.Namespace) -> dict[str, Any]:
    options = ["--no-onnx"] if arguments.no_onnx else []
    options += ["--no-save"] if arguments.no_save else []
    if tool == _THEIRS:
        options = ["--torch-pruning"]
    started = time.perf_counter()
    line = call_trial([sys.executable, str(_TRIAL), model.key, *options], arguments.limit)
    line = {"model": model.key, "tool": tool, "ok": False, "stage": "start", **line}
    line["commit"] = os.environ.get("COVERAGE_COMMIT", "")
    line["wall_seconds"] = round(time.perf_counter() - started, 1)
    return line


def call_trial(command: Sequence[str], limit: float) -> dict[str, Any]:
    """Return the JSON line that a process prints last, and why there is no more."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        printed = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout
        return {**_last_line(printed or ""), "reason": f"TIMEOUT after {limit:.0f} s"}
    line = _last_line(result.stdout)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        line["reason"] = f"CRASH exit {result.returncode}: {last[:300]}"
    return line


def _last_line(printed: str) -> dict[str, Any]:
    for text in reversed(printed.splitlines()):
        if text.startswith("{"):
            line: dict[str, Any] = json.loads(text)
            return line
    return {}


if __name__ == "__main__":
    main()
