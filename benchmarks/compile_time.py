"""How long does pruning take? Capture to lowered Program against Torch-Pruning, interleaved.

Both prune the same ResNet-50 to half its MACs, each run in a process of its own that reports wall
time after its imports, and its peak memory. Torch-Pruning takes a channel ratio, not a target, so
it is timed twice: ``torch-pruning`` finds its way to half the MACs as its documentation shows
(iterative steps, counting after each), ``torch-pruning, ratio known`` is one step with the ratio
that lands there, found beforehand and not timed. ``command`` is the whole command line from a
checkpoint to a verified ONNX file, without the latency measurement and without repair, which
Torch-Pruning does not do.

    pip install torch-pruning==1.6.1
    python benchmarks/compile_time.py --rounds 5 --output benchmarks/compile_time.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compressc.coupling.graph import cost_of, couple

TARGET = 0.5
# Keeps 0.50 of ResNet-50's MACs with Torch-Pruning's uniform ratios.
RATIO = 0.295
SHAPE = (3, 224, 224)


def read_peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    # Not ru_maxrss: a child starts with its parent's.
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def run_ours() -> dict[str, float]:
    import torch

    import compressc
    from compressc.contract.context import Context
    from compressc.contract.registry import find_pass
    from compressc.models.registry import build
    from compressc.plan import Plan

    torch.manual_seed(0)
    model, inputs = build("resnet50").eval(), torch.randn(2, *SHAPE)
    decide = find_pass("magnitude")()
    compressc.capture(torch.nn.Sequential(torch.nn.Linear(3, 3)), (torch.randn(2, 3),))
    started = time.perf_counter()
    program = compressc.capture(model, (inputs,))
    captured = time.perf_counter()
    decided = decide(program, Context(goal=compressc.Goal(macs=TARGET)))
    planned = time.perf_counter()
    lowered = compressc.lower(decided)
    done = time.perf_counter()
    return {
        "seconds": done - started,
        "capture_seconds": captured - started,
        "planning_seconds": planned - captured,
        "lowering_seconds": done - planned,
        "macs_left": cost_of(lowered).macs / couple(program).cost(Plan()).macs,
        "peak_rss_bytes": read_peak_bytes(),
    }


def run_theirs() -> dict[str, float]:
    return _prune_with_torch_pruning(steps=20, ratio=0.5)


def run_theirs_with_ratio() -> dict[str, float]:
    return _prune_with_torch_pruning(steps=1, ratio=RATIO)


def _prune_with_torch_pruning(steps: int, ratio: float) -> dict[str, float]:
    import torch
    import torch_pruning

    from compressc.models.registry import build

    torch.manual_seed(0)
    model, inputs = build("resnet50").eval(), torch.randn(1, *SHAPE)
    full, _ = torch_pruning.utils.count_ops_and_params(model, inputs)
    started = time.perf_counter()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        inputs,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        iterative_steps=steps,
        ignored_layers=[model.fc],
    )
    macs, taken = full, 0
    while taken < steps and macs > TARGET * full:
        pruner.step()
        taken += 1
        if steps > 1:
            macs, _ = torch_pruning.utils.count_ops_and_params(model, inputs)
    seconds = time.perf_counter() - started
    macs, _ = torch_pruning.utils.count_ops_and_params(model, inputs)
    return {
        "steps": taken,
        "seconds": seconds,
        "macs_left": macs / full,
        "peak_rss_bytes": read_peak_bytes(),
    }


def run_command() -> dict[str, float]:
    import torch

    from compressc.models.registry import build

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "resnet50.pt"
        torch.save({"arch": "resnet50", "state_dict": build("resnet50").state_dict()}, checkpoint)
        output = Path(folder) / "small.onnx"
        command = [
            *(sys.executable, "-m", "compressc", str(checkpoint)),
            *("--target-flops", str(TARGET), "--no-repair", "--no-measure", "-o", str(output)),
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {"seconds": time.perf_counter() - started, "size_bytes": output.stat().st_size}


RUNS = {
    "compressc": run_ours,
    "torch-pruning": run_theirs,
    "torch-pruning, ratio known": run_theirs_with_ratio,
    "command": run_command,
}


def run_apart(name: str) -> dict[str, float]:
    """Run one measurement in a fresh process."""
    printed = subprocess.run(
        [sys.executable, __file__, "--one", name], check=True, capture_output=True, text=True
    ).stdout
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", choices=RUNS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(RUNS[arguments.one]()))
        return
    from kit.records import describe_run, write_record

    results: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
    for _ in range(arguments.rounds):
        for name, taken in results.items():
            if name != "command" or not taken:
                taken.append(run_apart(name))
                print(name, taken[-1], flush=True)
    medians = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in results.items()
    }
    ratios = {
        name: [
            ours["seconds"] / theirs["seconds"]
            for ours, theirs in zip(results["compressc"], results[name], strict=True)
        ]
        for name in ("torch-pruning", "torch-pruning, ratio known")
    }
    document = {
        **describe_run(),
        "medians": medians,
        "seconds_over_theirs": {
            name: {"median": statistics.median(taken), "rounds": taken}
            for name, taken in ratios.items()
        },
        "rounds": results,
    }
    print(json.dumps(medians, indent=1))
    if arguments.output:
        write_record(arguments.output, document)


if __name__ == "__main__":
    main()
