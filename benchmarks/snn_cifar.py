"""What SNN leaves of the fully connected layers of CIFAR networks.

Claim: no accuracy is lost against the same training without switchers, and most parameters of the
fully connected layers leave. The networks are VGG-16 with a quarter of its channels and a hidden
layer of 512, and AlexNet with two hidden layers of 1024. They are trained from fresh weights on
some images of CIFAR-10-JPEG's training split; then ``snn`` and plain ``finetune`` train them on,
for as many epochs, with the same batches and schedule. Every row sees the test split once, at the
end.

A row is written when it is finished, and rows that are there are not run again; with ``--work-dir``
a killed one goes on after its last epoch.

    python benchmarks/snn_cifar.py --data cifar10-jpeg.tar.gz --base-epochs 12 --epochs 6
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from finetune import NORMALIZATION
from kit.fewer_images import take_images
from kit.records import describe_run, read_record, write_record
from kit.turns import Stopwatch

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.registry import build
from compressc.passes.finetune import Finetune
from compressc.passes.snn.switching import Snn
from compressc.program import Constraints, Program
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.protocol import Task

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "vgg": ("vgg16_cifar", {"width": 0.25}),
    "alexnet": ("alexnet_cifar", {"hidden": 1024}),
}
SHAPE = (3, 32, 32)
TOOLS = ("finetune", "connection", "neuron")
KEY = ("network", "tool", "sparsity", "base_epochs", "epochs", "seed", "images")


def train_base(options: argparse.Namespace, task: Task, seed: int) -> Program:
    torch.manual_seed(seed)
    name, arguments = NETWORKS[options.network]
    module = build(name, **arguments).eval()
    program = compressc.capture(module, (torch.randn(2, *SHAPE),))
    program = program.with_constraints(Constraints(keep=("features*",)))
    context = Context(Goal(seed=seed), task, show, options.work_dir, program)
    return Finetune(epochs=options.base_epochs, learning_rate=0.05, clip_norm=1.0)(program, context)


def count_dense_params(program: Program) -> int:
    """Return the weights other than zero and the biases of fully connected layers."""
    return sum(
        int((tensor != 0).sum()) if tensor.dim() > 1 else tensor.numel()
        for name, tensor in program.state().items()
        if name.startswith("classifier")
    )


def run_row(
    options: argparse.Namespace, row: dict[str, Any], program: Program, task: Task
) -> dict[str, Any]:
    context = Context(Goal(seed=row["seed"]), task, show, options.work_dir, program)
    shared = {"epochs": options.epochs, "schedule": "cosine", "warmup": 0.0}
    method = (
        Finetune(learning_rate=options.learning_rate, clip_norm=1.0, **shared)
        if row["tool"] == "finetune"
        else Snn(
            mode=row["tool"],
            sparsity=row["sparsity"],
            learning_rate=options.learning_rate,
            **shared,
        )
    )
    watch = Stopwatch()
    small = compressc.lower(method(program, context))
    taken = watch.read()
    return {
        **row,
        "test_accuracy": round(task.evaluate(small.module()), 2),
        "fc_params_before": count_dense_params(program),
        "fc_params_left": count_dense_params(small),
        "macs": cost_of(small).macs,
        "seconds": round(taken.wall, 1),
        "processor_seconds": round(taken.processor, 1),
        "notes": [note for line in small.history[len(program.history) :] for note in line.notes],
    }


def show(done: int, total: int, text: str) -> None:
    if total and done % 350 in (0, 1):
        print(f"    {done}/{total} {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", choices=list(NETWORKS), default="vgg")
    parser.add_argument("--tool", choices=TOOLS, nargs="+", default=list(TOOLS))
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--base-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=12_000, help="of the training split")
    parser.add_argument("--learning-rate", type=float, default=0.02, help="behind the base")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--work-dir", type=Path, help="for the state of a row in training")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = open_task(options.data, normalization=NORMALIZATION, input_shape=SHAPE, batch_size=64)
    assert isinstance(task, ClassificationTask)
    task = take_images(task, options.images)
    document = {"threads": 1, **describe_run(), "rows": read_record(options.out)["rows"]}
    for seed in options.seed:
        program = train_base(options, task, seed)
        base = task.evaluate(program.module())
        print(f"seed {seed}: base {base:.2f} %", flush=True)
        for tool in options.tool:
            row = {
                "network": options.network,
                "tool": tool,
                "sparsity": None if tool == "finetune" else options.sparsity,
                "base_epochs": options.base_epochs,
                "epochs": options.epochs,
                "seed": seed,
                "images": options.images,
            }
            if any(all(done[key] == row[key] for key in KEY) for done in document["rows"]):
                continue
            finished = run_row(options, row, program, task)
            finished["base_test_accuracy"] = round(base, 2)
            document["rows"].append({**finished, "command": document["command"]})
            write_record(options.out, document)
            print(f"  {tool}: {finished['test_accuracy']} %", flush=True)


if __name__ == "__main__":
    main()
