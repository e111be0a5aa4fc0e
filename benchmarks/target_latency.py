"""Is ``--target-latency 0.5`` reached? Untrained reference networks, each in one ordinary run.

The cost table is measured anew where the cache has none.

python benchmarks/target_latency.py --output benchmarks/target_latency.json   # about 20 minutes
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from kit.records import describe_run, write_record

import compressc
from compressc.errors import CompresscError
from compressc.goal import Goal
from compressc.models.registry import architectures, build

NETWORKS = ("resnet56", "mobilenet_v1", "mobilenet_v2", "resnet50", "densenet121")


def attempt(network: str, target: str) -> dict[str, object]:
    torch.manual_seed(0)
    inputs = torch.randn(2, *architectures()[network].input_shape)
    started = time.perf_counter()
    try:
        report = compressc.compress(
            build(network).eval(), inputs, goal=Goal(latency_ms=target), name=network
        ).report
    except CompresscError as error:
        return {"network": network, "target": target, "error": str(error)}
    (check,) = [check for check in report.verdict.checks if check.name == "latency goal"]
    numbers = {name: float(number) for name, number in check.numbers.items()}
    assert report.bench is not None
    return {
        "network": network,
        "target": target,
        "reached": round(numbers["reached_ms"] / numbers["original_ms"], 4),
        "over_target": round(numbers["reached_ms"] / numbers["target_ms"] - 1, 4),
        "macs_left": round(report.after.macs / report.before.macs, 4),
        "check": check.text,
        "notes": [note for row in report.passes for note in row.notes],
        "pass_seconds": round(sum(row.seconds for row in report.passes), 1),
        "seconds": round(time.perf_counter() - started, 1),
        "quiet": report.bench.quietness.is_quiet,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="benchmarks/target_latency.json")
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--target", default="0.5")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for network in options.networks:
        rows.append(attempt(network, options.target))
        print(json.dumps(rows[-1], indent=1), flush=True)
        write_record(options.output, {**describe_run(), "threads": 1, "rows": rows})


if __name__ == "__main__":
    main()
