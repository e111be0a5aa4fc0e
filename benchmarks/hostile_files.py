"""Hostile files at every door: how many were tried, and what became of them.

Claim: a file that is broken or hostile ends in a right result or in one clear line, within 60
seconds and 4 GB, runs no code of its own, and leaves nothing behind. A row is a lot of files at one
door, changed at random from a file that is right (``tests/fuzz/mutations.py``); the seed is in the
row, so a lot can be made again. A lot that is finished is not run again.

    python benchmarks/hostile_files.py --files 1000
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from kit.records import describe_run, read_record, write_record

_HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_HOME))

from tests.fuzz.doors import DOORS  # noqa: E402
from tests.fuzz.entering import enter  # noqa: E402
from tests.fuzz.mutations import mutate  # noqa: E402

LOT = 100


def try_lot(name: str, first: int, folder: Path) -> dict[str, Any]:
    """Return what became of a lot of files at a door."""
    door = DOORS[name]
    right = door.make()
    codes, wrong = Counter[str](), {}
    longest, largest, started = 0.0, 0, time.perf_counter()
    for number in range(first, first + LOT):
        place = folder / str(number)
        entry = enter(door, mutate(right, random.Random(f"{name} {number}")), place)
        codes[str(entry.outcome.code)] += 1
        longest = max(longest, entry.outcome.seconds)
        largest = max(largest, entry.outcome.memory_bytes)
        if entry.wrong:
            wrong[number] = entry.wrong
        shutil.rmtree(place)
    return {
        "door": name,
        "first": first,
        "files": LOT,
        "exit_codes": dict(sorted(codes.items())),
        "wrong": wrong,
        "longest_seconds": round(longest, 2),
        "most_memory_mb": round(largest / 1e6),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="per door")
    parser.add_argument("--door", nargs="+", choices=list(DOORS), default=list(DOORS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rows = read_record(options.out)["rows"]
    done = {(row["door"], row["first"]) for row in rows}
    document = {**describe_run(), "rows": rows}
    # All doors get their first lot before any gets its second.
    for first in range(0, options.files, LOT):
        for name in options.door:
            if (name, first) in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                rows.append(try_lot(name, first, Path(folder)))
            document["files"] = sum(row["files"] for row in rows)
            document["wrong"] = sum(len(row["wrong"]) for row in rows)
            write_record(options.out, document)
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
