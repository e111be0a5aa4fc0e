"""Depth against widths: accuracy and speed at the same MACs, or at the same latency, no training.

Claim: leaving out whole residual blocks saves time as MACs say, where thinning all layers does not;
what it costs in accuracy after ``calibrate`` stands beside it. Three networks: a ResNet-56 that
somebody else trained (CIFAR-10-JPEG), a vision transformer that is trained here (MNIST), and a
ResNet-50 with random weights (speed alone). Rows: widths alone (``surgeon``, or ``latency``), depth
alone (``depth``), both (``--depth``). The test split judges; nothing else sees it.

Run: python benchmarks/depth.py --part resnet56 --data cifar10-jpeg.tar.gz --model resnet56.pt
     python benchmarks/depth.py --part transformer --data mnist
     python benchmarks/depth.py --part resnet50
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kit.records import describe_run, read_record, write_record
from kit.turns import Stopwatch
from small_transformer import train
from torch import Tensor

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.coupling.graph import cost_of
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.models.registry import build
from compressc.passes.depth.pruning import Depth
from compressc.passes.latency.pruning import Latency
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.passes.surgeon import Surgeon
from compressc.program import Program
from compressc.runtime.benchmark import bench

NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Noise:
    """Inputs where only time counts."""

    metric_name = "none"

    def calibration_batches(self, samples: int, seed: int) -> Iterator[tuple[Tensor]]:
        """Yield four images of noise."""
        del samples
        yield (torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(seed)),)

    def fail(self, *_arguments: object) -> None:
        """Refuse what needs labels."""
        raise NotImplementedError

    train_batches = loss = validate = evaluate = fail


def recipes(goal: str, samples: int) -> dict[str, Pass]:
    if goal == "latency":
        return {
            "widths": Latency(),
            "depth": Depth(samples=samples),
            "both": Latency(depth=True, samples=samples),
        }
    return {
        "widths": Surgeon(samples=samples),
        "depth": Depth(samples=samples),
        "depth by agreement": Depth(by="agreement", samples=min(samples, 64)),
        "both": Surgeon(samples=samples, depth=True),
    }


def open_part(options: argparse.Namespace) -> tuple[Program, Any]:
    if options.part == "resnet50":
        torch.manual_seed(0)
        example = (torch.randn(2, 3, 224, 224),)
        return compressc.capture(build("resnet50").eval(), example), Noise()
    if options.part == "transformer":
        task = open_task(options.data, input_shape=(1, 28, 28))
        model = train(task, options.epochs, seed=0)
        return compressc.capture(model, (torch.randn(2, 1, 28, 28),)), task
    task = open_task(options.data, normalization=NORMALIZATION, input_shape=(3, 32, 32))
    return compressc.load(options.model, arch="resnet56", input_shape=(3, 32, 32)), task


def judged_on(task: Any, images: int | None) -> Any:
    """Return the task with the first images of its test split alone, or all of them."""
    if images is None or not hasattr(task, "data"):
        return task
    test = task.data.test.take(torch.arange(images))
    return replace(task, data=replace(task.data, test=test))


def speed(program: Program, small: Program) -> dict[str, float | bool]:
    """Time both files in turns; a busy machine is told by processor time."""
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        paths = [Path(folder) / "before.onnx", Path(folder) / "after.onnx"]
        for each, path in zip((program, small), paths, strict=True):
            write_onnx(export_onnx(each), path)
        timed = bench(paths, 1, 1, seconds=6.0, peak_rss=False)
    before, after = timed.measurements
    return {
        "speedup_wall": round(before.latency_p50_ms / after.latency_p50_ms, 3),
        "speedup_processor": round(before.cpu_ms / after.cpu_ms, 3),
        "quiet": timed.quietness.is_quiet,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("resnet56", "transformer", "resnet50"), required=True)
    parser.add_argument("--data")
    parser.add_argument("--model")
    parser.add_argument("--goal", choices=("macs", "latency"), default="macs")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=2, help="of the transformer's training")
    parser.add_argument("--refine-steps", type=int, default=0, help="0 for the closed form alone")
    parser.add_argument("--multiple-of", type=int, default=1)
    parser.add_argument("--judged", type=int, help="test images that judge; all by default")
    parser.add_argument("--only", nargs="*", help="rows by name")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)

    program, task = open_part(options)
    task = judged_on(task, options.judged)
    program = program.with_constraints(compressc.Constraints(multiple_of=options.multiple_of))
    judged = options.part != "resnet50"
    base = round(float(task.evaluate(program.module())), 2) if judged else None
    context = Context(
        Goal(**{"macs" if options.goal == "macs" else "latency_ms": options.ratio}), task=task
    )
    for name, entry in recipes(options.goal, options.samples).items():
        if options.only and name not in options.only:
            continue
        watch = Stopwatch()
        decided = entry(program, context)
        chosen = watch.read()
        row: dict[str, Any] = {
            "network": options.part,
            "goal": f"{options.goal} {options.ratio:g}",
            "decided": name,
            "multiple_of": options.multiple_of,
            "macs_ratio": round(cost_of(program).macs / cost_of(decided).macs, 4),
            "blocks_left_out": [n for n, index in decided.plan.choice.items() if index == 0],
            "notes": [note for line in decided.history for note in line.notes],
        }
        if judged:
            steps = RefinementSettings(refine_steps=options.refine_steps)
            decided = Calibration(refinement=steps)(decided, context)
            accuracy = round(float(task.evaluate(compressc.lower(decided).module())), 2)
            row |= {"base": base, "accuracy": accuracy, "judged": options.judged or "all"}
        row |= {"refine_steps": options.refine_steps, **speed(program, compressc.lower(decided))}
        row |= {
            "deciding_processor_seconds": round(chosen.processor, 1),
            "processor_seconds": round(watch.read().processor, 1),
        }
        row |= describe_run()
        print({k: v for k, v in row.items() if k not in ("machine", "notes")}, flush=True)
        record = read_record(options.out)
        key = ("network", "goal", "decided", "multiple_of", "refine_steps")
        others = [r for r in record["rows"] if any(r[k] != row[k] for k in key)]
        write_record(options.out, {"threads": 1, "seed": 0, "rows": [*others, row]})


if __name__ == "__main__":
    main()
