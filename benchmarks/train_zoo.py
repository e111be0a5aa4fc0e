r"""Trains an architecture of compressc.models with the project's own finetune pass.

    python benchmarks/train_zoo.py --arch lenet5 --data mnist --seeds 0 1 2
    python benchmarks/train_zoo.py --arch resnet20 --data cifar10-jpeg.tar.gz --epochs 100
    python benchmarks/train_zoo.py --arch resnet56 --data cifar10-jpeg.tar.gz \
        --start resnet56-cifar10-jpeg.pt --epochs 2 --learning-rate 0.01
    python benchmarks/train_zoo.py --arch digits_resnet --data digits

The first seed's weights are written in float16 to models/weights/ARCH.pt, the record of all seeds
beside them. Epochs are chosen on search-validation; the test split is seen once per seed, by the
rounded weights. A killed run goes on after its last epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from kit.records import describe_run, write_record
from rich.progress import Progress

import compressc
from compressc.contract.context import Context
from compressc.datasets.opening import open_task
from compressc.demo import digits_task
from compressc.goal import Goal
from compressc.models.checkpoints import Checkpoint, Normalization, save_checkpoint
from compressc.models.registry import architectures, build
from compressc.passes.finetune import Finetune
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

WEIGHTS = Path(__file__).parents[1] / "models" / "weights"
FAMILIAR = {"cifar10-jpeg.tar.gz": "CIFAR-10-JPEG", "mnist": "MNIST", "digits": "digits"}
# What the foreign checkpoints of ResNets were trained with.
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main() -> None:
    options = _parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    task = _open(options)
    settings = Finetune(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        schedule="cosine",
        weight_decay=options.weight_decay,
        precision=options.precision,
    )
    runs, first = [], None
    for seed in options.seeds:
        started = time.perf_counter()
        program = _begin(options, seed)
        with Progress() as bar:
            line = bar.add_task(f"{options.arch} seed {seed}", total=None)
            context = Context(
                Goal(seed=seed),
                task,
                lambda done, total, text, bar=bar, line=line: bar.update(
                    line, completed=done, total=total or None, description=text
                ),
                options.work_dir,
                program,
            )
            trained = settings(program, context)
        state = {
            name: tensor.half().float() if tensor.is_floating_point() else tensor
            for name, tensor in trained.state().items()
        }
        rounded = trained.with_state(state).module()
        accuracy = task.evaluate(rounded)
        runs.append(
            {
                "seed": seed,
                "test_accuracy": round(accuracy / 100, 4),
                "search_validation_accuracy": round(task.validate(rounded) / 100, 4),
                "seconds": round(time.perf_counter() - started, 1),
                "notes": list(trained.history[-1].notes),
            }
        )
        print(json.dumps(runs[-1]), flush=True)
        first = first or _checkpoint(options.arch, task, state, accuracy, seed)
    assert first is not None
    options.out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(first, options.out / f"{options.arch}.pt", torch.float16)
    record = _describe(options, task, settings, runs)
    write_record(options.out / f"{options.arch}.json", record)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=sorted(architectures()), required=True)
    parser.add_argument("--data", required=True, help='as for compressc --data, or "digits"')
    parser.add_argument("--start", help="a checkpoint to start from instead of random weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--precision", default="auto", help="auto, bfloat16 or float32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work-dir", type=Path, default=Path(".cache/zoo"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    return parser.parse_args()


def _open(options: argparse.Namespace) -> ClassificationTask:
    if options.data == "digits":
        digits = digits_task(Normalization((0.0,), (1.0,)))
        return dataclasses.replace(digits, normalization=digits.data.normalization())
    shape: Any = architectures()[options.arch].input_shape
    normalization = IMAGENET if options.start else None
    task = open_task(options.data, normalization=normalization, input_shape=shape)
    assert isinstance(task, ClassificationTask)
    return task


def _begin(options: argparse.Namespace, seed: int) -> Program:
    shape: Any = architectures()[options.arch].input_shape
    if options.start:
        return compressc.load(options.start, arch=options.arch, input_shape=shape)
    torch.manual_seed(seed)
    return compressc.capture(build(options.arch), (torch.randn(2, *shape),))


def _checkpoint(
    arch: str, task: ClassificationTask, state: dict[str, torch.Tensor], accuracy: float, seed: int
) -> Checkpoint:
    return Checkpoint(
        arch=arch,
        arch_kwargs={},
        input_shape=architectures()[arch].input_shape,
        normalization=task.normalization,
        state_dict=state,
        accuracy=round(accuracy / 100, 4),
        seed=seed,
    )


def _describe(
    options: argparse.Namespace,
    task: ClassificationTask,
    settings: Finetune,
    runs: list[dict[str, Any]],
) -> dict[str, Any]:
    data = task.data
    run = describe_run()
    return {
        "arch": options.arch,
        "dataset": FAMILIAR.get(Path(options.data).name, options.data),
        "accuracy": runs[0]["test_accuracy"],
        "seed": runs[0]["seed"],
        "runs": runs,
        "start": Path(options.start).name if options.start else "random weights",
        "split": {
            "train": len(data.train),
            "search_validation": len(data.val),
            "test": len(data.test),
            "seed": data.split_seed,
        },
        "finetune": dataclasses.asdict(settings),
        "weights_dtype": "float16",
        "command": run["command"],
        "environment": {
            **run["machine"],
            "torch": run["torch"],
            "threads": torch.get_num_threads(),
        },
    }


if __name__ == "__main__":
    main()
