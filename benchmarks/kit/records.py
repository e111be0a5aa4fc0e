"""Records: the documents that benchmarks write, and what each says about where it was made."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compressc.runtime.machine import describe_machine


def describe_environment() -> dict[str, Any]:
    """Return what numbers depend on besides the code: machine and versions."""
    return {"machine": describe_machine().to_dict(), "torch": version("torch")}


def describe_run() -> dict[str, Any]:
    """Return the command that is running and its environment."""
    script = Path(sys.argv[0]).name
    command = shlex.join(["python", f"benchmarks/{script}", *sys.argv[1:]])
    return {"command": command, **describe_environment()}


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    Path(path).write_text(json.dumps(record, indent=1, default=str) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of an earlier run, or one without rows where there is none."""
    if not path.exists():
        return {"rows": []}
    record: dict[str, Any] = json.loads(path.read_text())
    return record
