"""Does half the MACs mean half the time? compressc and Torch-Pruning on stock ONNX Runtime.

Each network is cut to 0.5 of its MACs by compressc (``magnitude``; and ``latency``, which seeks the
fastest plan of those MACs by the machine's cost table, with the same importance) and by
Torch-Pruning 1.6.1 (group magnitude, default settings and ``round_to=16``, ratio found by
bisection). Torch-Pruning does not hit 0.5 exactly, so compressc also makes a file with the MACs
that each of its files has: ``over_torch_pruning`` compares those, latency against latency. Where
it cannot reach 0.5 its smallest model counts, and nothing where that is the original. ``dense`` is
the original as ``torch.onnx.export`` writes it: what a user has today. All other files, the
original once more, come from compressc's exporter. All are timed in one interleaved run;
``speed_up`` is against ``dense``, ``speed_up_same_exporter`` against the other.

    pip install torch-pruning==1.6.1
    python benchmarks/speed.py --threads 1 --seconds 20 --output benchmarks/speed.json
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
import torch_pruning
from kit.records import describe_run, write_record
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.coupling.graph import cost_of
from compressc.models.registry import architectures, build
from compressc.runtime import channel_multiple, count_cost
from compressc.runtime.benchmark import bench

NETWORKS = ("resnet50", "mobilenet_v1", "mobilenet_v2", "resnet56", "densenet121")
TARGET = 0.5
RIVALS = {"torch-pruning": None, "torch-pruning round_to=16": 16}


def prune_evenly(program: compressc.Program, multiple_of: int) -> compressc.Program:
    program = program.with_constraints(compressc.Constraints(multiple_of=multiple_of))
    decide = find_pass("magnitude")()
    return compressc.lower(decide(program, Context(goal=compressc.Goal(macs=TARGET))))


def prune_for_speed(program: compressc.Program, macs: float, threads: int) -> compressc.Program:
    context = Context(goal=compressc.Goal(macs=macs), target=compressc.Target(threads=threads))
    return compressc.lower(find_pass("latency")()(program, context))


def prune_theirs(model: nn.Module, inputs: torch.Tensor, round_to: int | None) -> nn.Module:
    """Return Torch-Pruning's model at the largest size that meets the target, or its smallest."""
    full, _ = torch_pruning.utils.count_ops_and_params(model, inputs[:1])

    def pruned(ratio: float) -> nn.Module:
        clone = copy.deepcopy(model)
        last = [m for m in clone.modules() if isinstance(m, nn.Linear)][-1]
        torch_pruning.pruner.MagnitudePruner(
            clone,
            inputs[:1],
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[last],
            round_to=round_to,
        ).step()
        return clone

    low, high = 0.0, 0.9
    best = pruned(high)
    for _ in range(9):
        middle = (low + high) / 2
        candidate = pruned(middle)
        macs, _ = torch_pruning.utils.count_ops_and_params(candidate, inputs[:1])
        if macs <= TARGET * full:
            best, high = candidate, middle
        else:
            low = middle
    return best


def write(name: str, folder: Path, program: compressc.Program) -> Path:
    path = folder / f"{name}.onnx"
    write_onnx(export_onnx(program), path)
    return path


def equal_to(rival: str) -> str:
    return f"compressc latency, MACs of {rival}"


def write_stock(model: nn.Module, inputs: torch.Tensor, path: Path) -> Path:
    batch = torch.export.Dim("batch", min=1, max=1024)
    torch.onnx.export(
        model, (inputs,), path, dynamo=True, external_data=False, dynamic_shapes=({0: batch},)
    )
    return path


def compare(network: str, threads: int, seconds: float, multiple_of: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = build(network).eval()
    inputs = torch.randn(2, *architectures()[network].input_shape)

    program = compressc.capture(model, (inputs,))

    def theirs(round_to: int | None) -> compressc.Program:
        return compressc.capture(prune_theirs(model, inputs, round_to), (inputs,))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_stock(model, inputs, folder / "dense.onnx")
        files = {
            "dense": folder / "dense.onnx",
            "dense, compressc's exporter": write("own", folder, program),
            "compressc": write("even", folder, prune_evenly(program, multiple_of)),
            "compressc latency": write("fast", folder, prune_for_speed(program, TARGET, threads)),
        }
        for name, round_to in RIVALS.items():
            files[name] = path = write(f"tp{round_to}", folder, theirs(round_to))
            equal = count_cost(path).macs / cost_of(program).macs
            if equal < 1:
                files[equal_to(name)] = write(
                    f"equal{round_to}", folder, prune_for_speed(program, equal, threads)
                )
        result = bench(list(files.values()), threads=threads, seconds=seconds)
        macs = {name: count_cost(path).macs for name, path in files.items()}
        rows = {}
        document = json.loads(result.to_json())
        for index, name in enumerate(files):
            measurement = result.measurements[index]
            p50 = measurement.latency_p50_ms
            speed_up, same = (result.measurements[i].latency_p50_ms / p50 for i in (0, 1))
            cut = macs["dense"] / macs[name]
            rows[name] = {
                "macs": macs[name],
                "macs_cut": round(cut, 4),
                "latency_p50_ms": round(p50, 4),
                "speed_up": round(speed_up, 4),
                "speed_up_per_macs_cut": round(speed_up / cut, 4),
                "speed_up_same_exporter": round(same, 4),
            }
            print(f"  {name:28} {rows[name]}", flush=True)
    faster = {
        name: round(
            rows[name]["latency_p50_ms"] / rows[equal_to(name)]["latency_p50_ms"],
            4,
        )
        for name in RIVALS
        if equal_to(name) in rows
    }
    print(f"  over Torch-Pruning at equal MACs: {faster}", flush=True)
    return {"network": network, "files": rows, "over_torch_pruning": faster, "bench": document}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--multiple-of", type=int, default=channel_multiple())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for network in arguments.networks:
        print(network, flush=True)
        rows.append(compare(network, arguments.threads, arguments.seconds, arguments.multiple_of))
        if arguments.output:
            write_rows(rows, arguments)


def write_rows(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    document = {
        **describe_run(),
        "target_macs": TARGET,
        "torch_pruning": torch_pruning.__version__,
        "over_torch_pruning": {
            name: geometric_mean_of([row["over_torch_pruning"].get(name) for row in rows])
            for name in RIVALS
        },
        "results": rows,
    }
    write_record(arguments.output, document)


def geometric_mean_of(ratios: list[float | None]) -> dict[str, float | int | None]:
    known = [ratio for ratio in ratios if ratio is not None]
    mean = round(geometric_mean(known), 4) if known else None
    return {"networks": len(known), "geometric_mean": mean}


if __name__ == "__main__":
    main()
