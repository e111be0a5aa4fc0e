"""Benchmarks of training speed: the same comparison at each precision."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kit.records import describe_run, write_record


def measure_precisions(
    parser: argparse.ArgumentParser,
    compare: Callable[[str, argparse.Namespace], dict[str, Any]],
    settings: Sequence[str],
    threads: int = 1,
) -> None:
    """Compare at each precision; print every row and write them all beside the script.

    Args:
        parser: has the options of the script alone.
        compare: makes the row of a precision.
        settings: the options that the record holds.
        threads: the default.
    """
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, default=Path(sys.argv[0]).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for precision in options.precision:
        rows.append(compare(precision, options))
        print(json.dumps(rows[-1], indent=1), flush=True)
    record = {
        "network": options.arch,
        "batch_size": options.batch_size,
        **{name: getattr(options, name) for name in settings},
        "threads": options.threads,
        **describe_run(),
        "rows": rows,
    }
    write_record(options.out, record)
