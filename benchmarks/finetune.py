"""Accuracy of a pruned ResNet-56 on CIFAR-10-JPEG after a few epochs of distillation.

Claim: with at most 10 epochs the network is at most 0.3 points below the base at 2.12 times fewer
MACs, and at most 0.8 points at 2.57 times. ``ours`` is surgeon, calibrate, distill;
``torch-pruning`` is Torch-Pruning's group magnitude with the L1 norm (uniform, as its README shows,
or global), captured by compressc and trained by the same distill: same teacher, epochs, seed,
batches. Epochs are judged on search-validation; each row sees the test split once, before and after
training. A row is written when it is finished, and rows that are there are not run again; with
``--work-dir`` a killed row goes on after its last epoch.

    pip install torch-pruning==1.6.1
    python benchmarks/finetune.py --data cifar10-jpeg.tar.gz --model resnet56-cifar10-jpeg.pt \
        --work-dir /tmp/finetune
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from kit.clock import Clock
from kit.records import describe_run, read_record, write_record
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.models.registry import build
from compressc.passes.distill import Distill
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.surgeon import Surgeon
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TOOLS = ("ours", "torch-pruning", "torch-pruning global")
ROW_KEY = ("tool", "speedup", "seed", "epochs", "learning_rate", "train_images")


def prune_ours(program: Program, context: Context, clock: Clock) -> Program:
    pruned = clock.time("surgeon", lambda: Surgeon()(program, context))
    repaired = clock.time("calibrate", lambda: Calibration()(pruned, context))
    return clock.time("lower", lambda: compressc.lower(repaired))


def prune_theirs(
    path: str, arch: str, program: Program, target: float, scope: str, clock: Clock
) -> Program:
    """Return Torch-Pruning's model with MACs closest to ``target`` on either side, captured.

    It cannot come as close as ours: where all stages are coupled, a ratio moves them together.
    """
    import torch_pruning

    inputs = program.example_inputs[0]

    def pruned(ratio: float) -> Program:
        model = build(arch).eval()
        model.load_state_dict(torch.load(path, weights_only=True))
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        torch_pruning.pruner.BasePruner(
            model,
            inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=ratio,
            global_pruning=scope == "global",
            ignored_layers=[last],
        ).step()
        return compressc.capture(model, (inputs,))

    def bisect() -> Program:
        low, high = 0.0, 0.9
        below, above = program, pruned(high)
        for _ in range(10):
            middle = (low + high) / 2
            candidate = pruned(middle)
            if cost_of(candidate).macs <= target:
                above, high = candidate, middle
            else:
                below, low = candidate, middle
        return min(below, above, key=lambda program: abs(cost_of(program).macs - target))

    return clock.time("torch-pruning, ratio by bisection", bisect)


def run_row(
    options: argparse.Namespace, program: Program, task: ClassificationTask
) -> dict[str, Any]:
    goal = Goal(macs=1 / options.speedup, seed=options.seed)
    context = Context(goal, task, show, options.work_dir, program)
    full = cost_of(program).macs
    clock = Clock()
    if options.tool == "ours":
        small = prune_ours(program, context, clock)
    else:
        scope = "global" if options.tool.endswith("global") else "uniform"
        target = full / options.speedup
        small = prune_theirs(options.model, options.arch, program, target, scope, clock)
    before = task.evaluate(small.module())
    print(f"  {full / cost_of(small).macs:.3f}x fewer MACs, {before:.2f} % before", flush=True)
    distill = Distill(epochs=options.epochs, learning_rate=options.learning_rate)
    trained = clock.time("distill", lambda: distill(small, context))
    return {
        "tool": options.tool,
        "speedup": options.speedup,
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "train_images": len(task.data.train),
        "macs_ratio": round(full / cost_of(small).macs, 4),
        "params_ratio": round(cost_of(program).params / cost_of(small).params, 4),
        "test_accuracy_before": round(before, 2),
        "test_accuracy_after": round(task.evaluate(trained.module()), 2),
        "notes": list(trained.history[-1].notes),
        "distill": dataclasses.asdict(distill),
        "steps": clock.steps,
    }


def show(done: int, total: int, text: str) -> None:
    if total and done % 20 == 0:
        print(f"    {done}/{total} {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--arch", default="resnet56")
    parser.add_argument("--tool", choices=TOOLS, nargs="+", default=list(TOOLS))
    parser.add_argument("--speedup", type=float, nargs="+", default=[2.12, 2.57])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-images", type=int, help="only so many, to try it out")
    parser.add_argument("--work-dir", type=Path, help="for the state of a row in training")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    started = time.perf_counter()
    task = open_task(options.data, normalization=NORMALIZATION, input_shape=(3, 32, 32))
    assert isinstance(task, ClassificationTask)
    loading = time.perf_counter() - started
    if options.train_images:
        some = torch.randperm(len(task.data.train), generator=torch.Generator().manual_seed(0))
        train = task.data.train.take(some[: options.train_images])
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, train=train))
    program = compressc.load(options.model, arch=options.arch, input_shape=(3, 32, 32))
    document = read_record(options.out)
    if not options.out.exists():
        document = {
            "data": "CIFAR-10-JPEG",
            "model": options.arch,
            "base_test_accuracy": round(task.evaluate(program.module()), 2),
            "threads": options.threads,
            "loading_seconds": round(loading, 1),
            **describe_run(),
            "rows": [],
        }
    print(f"data in {loading:.0f} s, base {document['base_test_accuracy']} %", flush=True)
    done = {tuple(row[key] for key in ROW_KEY) for row in document["rows"]}
    for seed in options.seed:
        for speedup in options.speedup:
            for tool in options.tool:
                budget = (options.epochs, options.learning_rate, len(task.data.train))
                if (tool, speedup, seed, *budget) in done:
                    continue
                print(f"{tool}, {speedup}x, seed {seed}", flush=True)
                chosen = argparse.Namespace(
                    **{**vars(options), "tool": tool, "speedup": speedup, "seed": seed}
                )
                row = run_row(chosen, program, task)
                row["points_lost"] = round(
                    document["base_test_accuracy"] - row["test_accuracy_after"], 2
                )
                document["rows"].append(row)
                write_record(options.out, document)
                print(f"  {row['test_accuracy_after']} % after; {row['notes'][0]}", flush=True)


if __name__ == "__main__":
    main()
