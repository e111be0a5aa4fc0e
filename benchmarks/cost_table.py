"""Does the cost table know what a pruned network will take?

Random plans (each group keeps a random share, counts in the steps a plan may use) of four networks
are predicted in two ways: from the plan alone, as a search does it, and from the exported file, as
``compressc profile --cost-table`` does it. Then every file is timed on its own. ``scaled``
predictions are corrected by what the table gets wrong on the original network, which is measured
anyway before a search begins.

    python benchmarks/cost_table.py prepare --folder /tmp/plans     # writes 84 ONNX files
    python benchmarks/cost_table.py measure --folder /tmp/plans     # about 4 minutes; keep it quiet
    python benchmarks/cost_table.py report --folder /tmp/plans --output benchmarks/cost_table.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from kit.records import describe_run, write_record

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.coupling.graph import cost_of, couple
from compressc.latency.latency_model import build_latency_model
from compressc.models.registry import architectures, build
from compressc.passes.widths.ladders import build_ladder
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.runtime.cost_prediction import predict
from compressc.runtime.cost_store import table_for
from compressc.runtime.cost_table import CostTable
from compressc.runtime.inputs import make_inputs
from compressc.runtime.kernel_list import list_kernels
from compressc.runtime.machine import channel_multiple
from compressc.runtime.pinning import pinned
from compressc.runtime.quietness import judge, take_snapshot
from compressc.runtime.session import open_session
from compressc.runtime.timing import plan_rounds, time_rounds, warm_up

NETWORKS = ("resnet50", "resnet56", "mobilenet_v2", "densenet40")
# Layers of DenseNet-40 make twelve channels each.
STEPS = {"densenet40": 4}
SESSIONS, SECONDS = 2, 0.6


def capture(network: str) -> Program:
    torch.manual_seed(0)
    inputs = torch.randn(2, *architectures()[network].input_shape)
    program = compressc.capture(build(network).eval(), (inputs,))
    step = STEPS.get(network, channel_multiple())
    return program.with_constraints(Constraints(multiple_of=step))


def random_plans(program: Program, count: int, seed: int) -> Iterator[Plan]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        least = rng.uniform(0.2, 0.9)
        keep = {}
        for group in couple(program).groups:
            if group.pinned is None:
                ladder = build_ladder(group, rng.random(group.size))
                rung = ladder.rung_at(rng.uniform(least, 1.0))
                if rung < ladder.steps:
                    keep[group.name] = ladder.mask(rung)
        yield Plan(keep=keep)


def prepare(folder: Path, networks: list[str], plans: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for network in networks:
        program = capture(network)
        write_onnx(export_onnx(program), folder / f"{network}-full.onnx")
        for number, plan in enumerate(random_plans(program, plans, seed)):
            decided = program.with_plan(plan)
            write_onnx(export_onnx(compressc.lower(decided)), folder / f"{network}-{number}.onnx")
            print(
                network, number, f"{cost_of(decided).macs / cost_of(program).macs:.2f}", flush=True
            )


def measure(folder: Path, networks: list[str], threads: int) -> None:
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    measured: dict[str, object] = {"latency_ms": {}, "table_seconds": {}}
    before = take_snapshot()
    for network in networks:
        begin = time.perf_counter()
        kernels = list_kernels(folder / f"{network}-full.onnx", threads)
        table = table_for(kernels, threads)
        measured["table_seconds"][network] = round(time.perf_counter() - begin, 1)
        print(network, table.size, "cells", measured["table_seconds"][network], "s", flush=True)
        for path in sorted(folder.glob(f"{network}-*.onnx")):
            measured["latency_ms"][path.stem] = time_file(path, threads)
    measured["quiet"] = judge(before, take_snapshot(), None).is_quiet
    (folder / "table.json").write_text(table.to_json())
    (folder / "measured.json").write_text(json.dumps(measured))


def time_file(path: Path, threads: int) -> float:
    medians = []
    with pinned(threads):
        for _ in range(SESSIONS):
            session = open_session(path, threads)
            run = partial(session.run, None, make_inputs(session))
            call_ms = warm_up(run, 0.4).call_ms
            rounds = plan_rounds([call_ms], SECONDS, 5, 200)
            medians.append(float(np.median(time_rounds([run], [call_ms], rounds)[0].latency_ms)))
    return statistics.mean(medians)


def report(folder: Path, networks: list[str], plans: int, seed: int, threads: int) -> dict:
    table = CostTable.from_json((folder / "table.json").read_text())
    measured = json.loads((folder / "measured.json").read_text())
    results = {}
    for network in networks:
        program = capture(network)
        full = measured["latency_ms"][f"{network}-full"]
        kernels = list_kernels(folder / f"{network}-full.onnx", threads)
        model = build_latency_model(couple(program), kernels, table)
        scale = full / model.latency_ms(model.sizes)
        rows = []
        for number, plan in enumerate(random_plans(program, plans, seed)):
            path = folder / f"{network}-{number}.onnx"
            from_plan = model.latency_ms(model.counts_of(plan))
            from_file = predict(table, list_kernels(path, threads)).latency_ms
            rows.append(
                {
                    "measured_ms": round(measured["latency_ms"][path.stem], 4),
                    "from_plan_ms": round(from_plan, 4),
                    "from_plan_scaled_ms": round(from_plan * scale, 4),
                    "from_file_ms": round(from_file, 4),
                }
            )
        errors = {
            key: [abs(row[key] / row["measured_ms"] - 1) for row in rows]
            for key in ("from_plan_ms", "from_plan_scaled_ms", "from_file_ms")
        }
        results[network] = {
            "full_measured_ms": round(full, 4),
            "full_predicted_ms": round(full / scale, 4),
            "table_seconds": measured["table_seconds"][network],
            "median_error": {
                k.removesuffix("_ms"): round(statistics.median(v), 4) for k, v in errors.items()
            },
            "largest_error": {k.removesuffix("_ms"): round(max(v), 4) for k, v in errors.items()},
            "plans": rows,
        }
        print(network, {k: v for k, v in results[network].items() if k != "plans"}, flush=True)
    return {
        **describe_run(),
        "threads": threads,
        "quiet": measured["quiet"] and table.quiet,
        "cells": table.size,
        "results": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=("prepare", "measure", "report"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--plans", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    folder, networks, seed = arguments.folder, arguments.networks, arguments.seed
    if arguments.phase == "prepare":
        prepare(folder, networks, arguments.plans, seed)
    elif arguments.phase == "measure":
        measure(folder, networks, arguments.threads)
    else:
        document = report(folder, networks, arguments.plans, seed, arguments.threads)
        if arguments.output:
            write_record(arguments.output, document)


if __name__ == "__main__":
    main()
