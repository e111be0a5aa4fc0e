"""ASCAI on ResNet-56 and CIFAR-10-JPEG: what its searches leave, and what is lost.

Claims, as changes against the network's own accuracy: channels (ps) at most 44 % of the MACs left
with at most 0.4 points lost after fine-tuning; ranks (d: SVD and Tucker-2) at most 59 % with at
most 0.1; both (d+ps) at most 37 % with at most 0.4; single weights (pn) at most 30 % of the
parameters left with at most 0.1 lost and no fine-tuning. Fine-tuning is calibrate, then distill.
Candidates are judged as they are cut, with batch norm statistics measured anew, on a sample of
search-validation; the test split is seen once per stage of a row, and nothing is chosen by it. A
row is written when it is finished, and rows that are there are not run again; with ``--work-dir``
a killed row goes on from its journal of trials and its last epoch.

    python benchmarks/ascai_cifar.py --data cifar10-jpeg.tar.gz --model resnet56-cifar10-jpeg.pt \
        --work-dir /tmp/ascai --val-samples 500 --recalibrate 128 --case ps --trials 400

The other rows were made with ``--case d --trials 740``, ``--case d+ps --trials 480`` and ``--case
pn --trials 730 --pn-drop 8``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from finetune import NORMALIZATION, show
from kit.clock import Clock
from kit.records import describe_run, read_record, write_record

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.coupling.priced_costs import price_plan
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.pass_fields import build_pass, read_settings
from compressc.passes.ascai.genetic_search import Ascai
from compressc.passes.distill import Distill
from compressc.passes.reconstruction.calibration import Calibration
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask
from compressc.zero_price import SPARSE

# Bounded searches compare candidates that all lose much as cut: above a wide threshold the score
# tells them apart. Zeros cannot be bounded: the smallest within a loss is taken.
CASES: dict[str, tuple[float | None, dict[str, Any]]] = {
    "ps": (0.44, {"spaces": ("ps",), "search_drop": 20.0}),
    "d": (0.59, {"spaces": ("svd", "tucker"), "search_drop": 20.0}),
    "d+ps": (0.37, {"spaces": ("ps", "svd", "tucker"), "search_drop": 40.0}),
    "pn": (None, {"spaces": ("pn",), "score": "params"}),
}
KEY = ("case", "importance", "seed", "trials", "val_samples", "recalibrate", "epochs", "pn_drop")


def run_row(
    options: argparse.Namespace, case: str, program: Program, task: ClassificationTask
) -> dict[str, Any]:
    share, settings = CASES[case]
    if case == "pn":
        settings = {**settings, "search_drop": options.pn_drop, "least_penalty": options.pn_drop}
    search: Ascai = build_pass(
        Ascai,
        {
            **settings,
            "generations": 10**6,
            "val_samples": options.val_samples,
            "recalibrate": options.recalibrate,
            "importance": options.importance,
            "elite": 2,
        },
    )
    goal = Goal(macs=share, trials=options.trials, seed=options.seed)
    context = Context(goal, task, show, options.work_dir, program)
    clock = Clock()

    def accuracy(decided: Program) -> float:
        return round(task.evaluate(compressc.lower(decided).module()), 2)

    decided = clock.time("search", lambda: search(program, context))
    accuracies = {
        "as_cut": accuracy(program.with_plan(decided.plan)),
        "statistics": accuracy(decided),
    }
    repaired = clock.time("calibrate", lambda: Calibration()(decided, context))
    accuracies["calibrated"] = accuracy(repaired)
    print(f"  {accuracies}", flush=True)
    notes = list(decided.history[-1].notes)
    if options.epochs and case != "pn":
        accuracies["distilled"], told = tune(
            compressc.lower(repaired), task, context, clock, options
        )
        notes += told
    cost, full = price_plan(couple(program), decided.plan, SPARSE), cost_of(program)
    return {
        "case": case,
        "importance": options.importance,
        "seed": options.seed,
        "trials": options.trials,
        "val_samples": options.val_samples,
        "recalibrate": options.recalibrate,
        "epochs": options.epochs,
        "pn_drop": options.pn_drop if case == "pn" else None,
        "macs_left": round(cost.macs / full.macs, 4),
        "params_left": round(cost.params / full.params, 4),
        "test_accuracy": accuracies,
        "search": {
            name: value
            for name, value in read_settings(search).items()
            if name not in ("workers", "dask", "history", "measure_saved")
        },
        "notes": notes,
        "steps": clock.steps,
    }


def tune(
    small: Program,
    task: ClassificationTask,
    context: Context,
    clock: Clock,
    options: argparse.Namespace,
) -> tuple[float, tuple[str, ...]]:
    """Return the accuracy after distillation, and what the pass has to say."""
    distill = Distill(epochs=options.epochs, learning_rate=options.learning_rate)
    trained = clock.time("distill", lambda: distill(small, context))
    return round(task.evaluate(trained.module()), 2), trained.history[-1].notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--case", choices=list(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--val-samples", type=int, default=1000)
    parser.add_argument("--recalibrate", type=int, default=256)
    parser.add_argument("--importance", default="gradient")
    parser.add_argument("--pn-drop", type=float, default=5.0, help="points that pn may lose as cut")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work-dir", type=Path, help="for the state of a row")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = open_task(options.data, normalization=NORMALIZATION, input_shape=(3, 32, 32))
    assert isinstance(task, ClassificationTask)
    program = compressc.load(options.model, arch="resnet56", input_shape=(3, 32, 32))
    base = round(task.evaluate(program.module()), 2)
    document: dict[str, Any] = {
        "data": "CIFAR-10-JPEG",
        "model": "resnet56",
        "base_test_accuracy": base,
        "threads": options.threads,
        **describe_run(),
    }
    document["rows"] = read_record(options.out)["rows"]
    for case in options.case:
        asked = {**vars(options), "case": case}
        if case != "pn":
            asked["pn_drop"] = None
        if any(all(row[key] == asked[key] for key in KEY) for row in document["rows"]):
            continue
        print(f"{case}, seed {options.seed}", flush=True)
        row = run_row(options, case, program, task)
        last = list(row["test_accuracy"].values())[-1]
        row["points_lost"] = round(base - last, 2)
        document["rows"].append(row)
        write_record(options.out, document)
        print(f"  {last} % at the end, {row['points_lost']} lost", flush=True)


if __name__ == "__main__":
    main()
