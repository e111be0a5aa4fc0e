"""Accuracy after DECORE and after magnitude pruning, with the same number of training epochs.

Claims: MNIST LeNet-5 loses at most 0.1 points at 10 times fewer MACs; ResNets on CIFAR-10-JPEG lose
nothing at 2 times and at most 2.4 points at 5.4 times fewer; and DECORE is better than magnitude
pruning at equal MACs and equal budget. ``decore`` trains agents and network together, drops the
lowest agents until the goal holds, and trains the small network for the rest of the epochs;
``magnitude`` cuts at once (L2 norm; uniform, or all groups ranked together) and trains for all of
them. Same batches, optimizer, rate and seed. ``--recover finetune`` trains on the labels;
``--recover distill`` first calibrates (least squares on activations, no epochs) and then trains on
the original's answers too; ``--recover calibrate`` trains nothing behind the agents. Epochs of that
training are judged on search-validation; each row sees the test split once, before and after it. A
row is written when it is finished, and rows that are there are not run again; with ``--work-dir`` a
killed row goes on after its last epoch.

    python benchmarks/decore.py --data mnist --arch lenet5 --speedup 10 --seed 0 1 2 --epochs 24 \
        --agent-epochs 12 --baseline --adapt-penalty --agent-rate 0.03
    python benchmarks/decore.py --data cifar10-jpeg.tar.gz --arch resnet20 \
        --model resnet20-cifar10-jpeg.th --speedup 2 5.4 --epochs 12 --agent-epochs 6 --baseline \
        --adapt-penalty --agent-rate 0.05 --work-dir /tmp/decore

The rows with ``"recover": "distill"`` were made with ``--recover distill --mode constraint
--agent-epochs 4 --agent-rate 0.05`` instead, those of ResNet-56 with ``--recover calibrate --mode
constraint --agent-epochs 2 --agent-rate 0.1 --epochs 2``. The row of the constraint mode with
``finetune`` was made with ``--mode constraint --agent-epochs 3`` before agents were judged on
batch statistics.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from kit.records import describe_environment, read_record, write_record
from kit.turns import Stopwatch

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.models.registry import architectures, weights_path
from compressc.passes.decore.agent_pruning import Decore
from compressc.passes.distill import Distill
from compressc.passes.finetune import Finetune
from compressc.passes.magnitude import Magnitude
from compressc.passes.reconstruction.calibration import Calibration
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

# Of the foreign checkpoints; the networks that ship say theirs.
CIFAR = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RECOVERIES = ("finetune", "distill", "calibrate")
TOOLS = ("decore", "magnitude", "magnitude global")
SETTINGS = (
    "recover",
    "epochs",
    "agent_epochs",
    "penalty",
    "agent_rate",
    "first_weight",
    "sampling",
    "baseline",
    "adapt_penalty",
    "mode",
    "learning_rate",
    "batch_size",
    "train_images",
)
KEY = ("arch", "tool", "speedup", "seed", *SETTINGS)


def settings_of(options: argparse.Namespace, tool: str, images: int) -> dict[str, Any]:
    """Return what a row depends on; settings of agents are none for tools without agents."""
    shared = ("recover", "epochs", "learning_rate", "batch_size")
    values = {name: getattr(options, name, None) for name in SETTINGS}
    if tool != "decore":
        values = {name: values[name] if name in shared else None for name in SETTINGS}
    return {**values, "train_images": images}


def prune(
    tool: str, options: argparse.Namespace, program: Program, context: Context
) -> tuple[Program, int]:
    """Return the pruned program and the epochs that it took."""
    if tool != "decore":
        scope = "global" if tool.endswith("global") else "uniform"
        return Magnitude(scope=scope)(program, context), 0
    decide = Decore(
        epochs=options.agent_epochs,
        penalty=options.penalty,
        agent_rate=options.agent_rate,
        first_weight=options.first_weight,
        sampling=options.sampling,
        baseline=options.baseline,
        adapt_penalty=options.adapt_penalty,
        mode=options.mode,
        learning_rate=options.learning_rate,
        analysis=True,
    )
    return decide(program, context), options.agent_epochs


def run_row(
    tool: str, speedup: float, seed: int, options: argparse.Namespace, task: ClassificationTask
) -> dict[str, Any]:
    program = options.program
    context = Context(Goal(macs=1 / speedup, seed=seed), task, show, options.work_dir, program)
    watch = Stopwatch()
    pruned, spent = prune(tool, options, program, context)
    pruning = watch.read()
    calibrates = options.recover != "finetune"
    small = tuned = compressc.lower(Calibration()(pruned, context) if calibrates else pruned)
    before = after = task.evaluate(small.module())
    if options.recover != "calibrate":
        train = Distill if options.recover == "distill" else Finetune
        epochs = options.epochs - spent
        tuned = train(epochs=epochs, learning_rate=options.learning_rate)(small, context)
        after = task.evaluate(tuned.module())
    notes = tuned.history[len(program.history) :]
    return {
        "arch": options.arch,
        "tool": tool,
        "speedup": speedup,
        "seed": seed,
        **settings_of(options, tool, len(task.data.train)),
        "macs_ratio": round(cost_of(program).macs / cost_of(small).macs, 4),
        "params_ratio": round(cost_of(program).params / cost_of(small).params, 4),
        "widths": {name: int(mask.sum()) for name, mask in pruned.plan.keep.items()},
        "test_accuracy_before_training": round(before, 2),
        "test_accuracy": round(after, 2),
        "points_lost": round(options.base - after, 2),
        "pruning_seconds": round(pruning.wall, 1),
        "pruning_processor_seconds": round(pruning.processor, 1),
        "seconds": round(watch.read().wall, 1),
        "notes": [note for step in notes for note in step.notes],
    }


def show(done: int, total: int, text: str) -> None:
    if total and done % 100 in (0, 1):
        print(f"    {done}/{total} {text}", flush=True)


def open_data(options: argparse.Namespace) -> ClassificationTask:
    shape = architectures()[options.arch].input_shape
    task = open_task(
        options.data,
        normalization=CIFAR if options.model and shape[0] == 3 else None,
        input_shape=shape,  # type: ignore[arg-type]
        batch_size=options.batch_size,
    )
    assert isinstance(task, ClassificationTask)
    if options.train_images:
        some = torch.randperm(len(task.data.train), generator=torch.Generator().manual_seed(0))
        train = task.data.train.take(some[: options.train_images])
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, train=train))
    return task


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True)
    parser.add_argument("--arch", default="lenet5")
    parser.add_argument("--model", help="a checkpoint; without it the weights that ship")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--agent-epochs", type=int, default=20, help="of the epochs, with agents")
    parser.add_argument("--penalty", type=float, default=10.0)
    parser.add_argument("--agent-rate", type=float, default=0.01)
    parser.add_argument("--first-weight", type=float, default=6.9)
    parser.add_argument("--sampling", choices=("image", "step"), default="image")
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--adapt-penalty", action="store_true")
    parser.add_argument("--mode", choices=("joint", "constraint"), default="joint")
    parser.add_argument("--recover", choices=RECOVERIES, default=RECOVERIES[0])
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train-images", type=int, help="only so many, to try it out")
    parser.add_argument("--work-dir", type=Path, help="for the state of a row in training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--tool", choices=TOOLS, nargs="+", default=list(TOOLS))
    parser.add_argument("--speedup", type=float, nargs="+", default=[2.0])
    parser.add_argument("--epochs", type=int, default=40, help="in all, with and without agents")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.agent_epochs >= options.epochs and options.recover != "calibrate":
        parser.error("--agent-epochs are a part of --epochs: give fewer")
    torch.set_num_threads(options.threads)
    task = open_data(options)
    options.program = compressc.load(
        options.model or str(weights_path(options.arch)),
        arch=options.arch,
        input_shape=architectures()[options.arch].input_shape,
    )
    options.base = task.evaluate(options.program.module())
    print(f"base {options.base:.2f} %", flush=True)
    document = read_record(options.out)
    done = {tuple(row[key] for key in KEY) for row in document["rows"]}
    for seed in options.seed:
        for speedup in options.speedup:
            for tool in options.tool:
                settings = settings_of(options, tool, len(task.data.train))
                if (options.arch, tool, speedup, seed, *settings.values()) in done:
                    continue
                print(f"{options.arch}, {tool}, {speedup}x, seed {seed}", flush=True)
                row = run_row(tool, speedup, seed, options, task)
                row |= {
                    "data": task.data.name,
                    "base_test_accuracy": round(options.base, 2),
                    "threads": options.threads,
                    **describe_environment(),
                }
                document["rows"].append(row)
                write_record(options.out, document)
                print(f"  {row['test_accuracy']} %, {row['points_lost']} lost", flush=True)


if __name__ == "__main__":
    main()
