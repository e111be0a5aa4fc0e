"""lowered == masked on thousands of random graphs, and every planted fault noticed.

Claim: what a plan removes from a graph, and the same graph with it set to zero, compute the same
numbers, on every graph that the strategies of the tests can draw. The everyday tests draw a few;
this script is the nightly run. Graphs are drawn in lots, each with a seed of its own, and a lot
that is finished is not run again. The planted faults (errors put into rules, masks and lowering on
purpose) show that the oracle can fail.

    python benchmarks/theorem.py --graphs 10000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from kit.records import describe_run, read_record, write_record

_HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_HOME))

from compressc.coupling.graph import couple  # noqa: E402
from tests.oracle import check_theorem  # noqa: E402
from tests.plans import random_plan, smallest_plan  # noqa: E402
from tests.strategies import Recipe, networks  # noqa: E402

LOT = 100


def prove_lot(number: int, blocks: int) -> dict[str, object]:
    """Return how many graphs of a lot were proved; raises at the first one that is not equal."""
    drawn, distinct, started = 0, set[str](), time.perf_counter()

    @seed(number)
    @settings(
        max_examples=LOT, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(recipe=networks(blocks), plan=st.integers(0, 10**6))
    def prove(recipe: Recipe, plan: int) -> None:
        nonlocal drawn
        program = recipe.capture()
        check_theorem(program, random_plan(couple(program), plan))
        check_theorem(program, smallest_plan(couple(program), plan), informative=False)
        drawn += 1
        distinct.add(f"{recipe} {plan}")

    prove()
    return {
        "lot": number,
        "blocks": blocks,
        "graphs": drawn,
        "distinct": len(distinct),
        "proofs": 2 * drawn,
        "seconds": round(time.perf_counter() - started, 1),
    }


def count_faults() -> dict[str, int]:
    """Return how many planted faults there are, and how many make the tests fail as they must."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "tests/test_planted_faults.py"]
    answer = subprocess.run(command, cwd=_HOME, capture_output=True, text=True, check=False)
    lines = answer.stdout.splitlines()
    passed = sum(line.startswith("PASSED") for line in lines)
    failed = sum(line.startswith(("FAILED", "ERROR")) for line in lines)
    return {"planted": passed + failed, "noticed": passed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=10_000)
    parser.add_argument("--blocks", type=int, default=4, help="of a graph, at most")
    parser.add_argument("--first", type=int, default=0, help="lot")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_record(options.out)["rows"]
    done = {(row["lot"], row["blocks"]) for row in rows}
    document = {**describe_run(), "rows": rows}
    for number in range(options.first, options.first + -(-options.graphs // LOT)):
        if (number, options.blocks) in done:
            continue
        rows.append(prove_lot(number, options.blocks))
        document["graphs"] = sum(row["graphs"] for row in rows)
        document["proofs"] = sum(row["proofs"] for row in rows)
        write_record(options.out, document)
        print(rows[-1], flush=True)
    document["faults"] = count_faults()
    write_record(options.out, document)
    print(document["faults"])


if __name__ == "__main__":
    main()
