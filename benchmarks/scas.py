"""Architectures searched under sparsity (SCAS), on MNIST, with four controllers.

Claim (the paper): the sparsest network with less than a point lost against the same search without
sparsity has 11.6x fewer parameters and 9.5x fewer MACs (ENAS macro), 11.1x and 19.3x (ENAS micro),
6.4x and 5.2x (DARTS), 10.8x and 14.4x (SMASH). Zeros count as nothing in both. Rows are of four
kinds: "searched" searches and trains at a sparsity; "random" trains one of five random
architectures of the space at it; "pruned later" trains at it what was found without sparsity; all
three with equal final training. "gradual" and "sparsify" put zeros into a trained ResNet-20.

Settings are reduced so that all of it fits two hours of a shared core: see SIZES, and the options.
Images are some of the training split; the whole test split is seen once by every row.

A row is written when it is finished, and rows that are there are not run again; with --folder a
killed row goes on after its last epoch, and networks are kept for --speed.

    python benchmarks/scas.py --data mnist --folder DIR
    python benchmarks/scas.py --data mnist --folder DIR --speed
    python benchmarks/scas.py --data cifar10-jpeg.tar.gz --resnet20 resnet20-cifar10-jpeg.th
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from kit.fewer_images import take_images
from kit.records import describe_environment, read_record, write_record
from kit.turns import Stopwatch

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.choices.space import SearchSpace, SpaceSize, find_space
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.coupling.priced_costs import price_plan
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.passes import DeadChannels, Finetune, Gradual, Scas, Sparsify
from compressc.plan import Plan
from compressc.program import Program
from compressc.runtime.benchmark import bench
from compressc.sparse_graph.emission import emit_sparse_nodes
from compressc.tasks.classification import ClassificationTask
from compressc.zero_price import SPARSE

# Layers or cells, channels, nodes or banks, stride of the stem.
SIZES = {
    "enas-macro": SpaceSize(4, 32, 1, 2),
    "enas-micro": SpaceSize(3, 32, 2, 2),
    "darts": SpaceSize(3, 32, 2, 2),
    "smash": SpaceSize(3, 32, 2, 2),
}
# Mixtures compute every candidate, so that they can see fewer images in the same time.
MIXED = {"darts"}
SPARSITIES = (0.0, 0.5, 0.8, 0.9, 0.95)
COMPARED_AT = 0.9
RANDOM = 5
ASKED = {
    "enas-macro": (11.6, 9.5),
    "enas-micro": (11.1, 19.3),
    "darts": (6.4, 5.2),
    "smash": (10.8, 14.4),
}
KEY = ("kind", "space", "sparsity", "number", "seed")


def count(program: Program) -> dict[str, int]:
    """Return parameters and MACs, whole and without zeros."""
    state = program.state()
    zero = {name: (state[name] != 0).numpy() for name in program.sparse_weights}
    left = price_plan(couple(program), Plan(zero=zero), SPARSE)
    whole = cost_of(program)
    return {
        "params": whole.params,
        "macs": whole.macs,
        "params_left": left.params,
        "macs_left": left.macs,
    }


def supernet(space: SearchSpace, task: ClassificationTask, seed: int) -> Program:
    torch.manual_seed(seed)
    channels, height, width = task.input_shape
    net = space.build(SIZES[space.name], (channels, height, width), len(task.classes)).eval()
    return compressc.capture(net, (torch.randn(2, channels, height, width),))


def draw(space: SearchSpace, program: Program, seed: int) -> dict[str, int]:
    """Return a random architecture of a space."""
    rng = np.random.default_rng(seed)
    choices = couple(program).branches.choices
    strengths = {entry.name: rng.random(entry.count).tolist() for entry in choices}
    return space.settle(choices, strengths)


def search(
    row: dict[str, Any], program: Program, task: ClassificationTask, options: argparse.Namespace
) -> tuple[dict[str, int], list[str]]:
    mixed = row["space"] in MIXED
    task = take_images(task, *((options.mixed_images, 128) if mixed else (options.images, 1000)))
    method = Scas(
        space=row["space"],
        sparsity=row["sparsity"],
        epochs=options.search_epochs,
        learning_rate=0.1,
        children=options.children,
        controller_steps=options.controller_steps,
        reward_samples=128,
    )
    context = Context(Goal(seed=row["seed"]), task, show, options.folder)
    decided = method(program, context)
    return dict(decided.plan.choice), list(decided.history[-1].notes)


def train(
    row: dict[str, Any], program: Program, task: ClassificationTask, options: argparse.Namespace
) -> tuple[Program, list[str]]:
    """Return a chosen network trained from scratch under a sparsity, dead filters gone."""
    task = take_images(task, options.final_images, 1000)
    method = Gradual(
        epochs=options.final_epochs,
        sparsity=row["sparsity"],
        ramp=0.5,
        prune_every=8,
        learning_rate=options.learning_rate,
        skip_first_last=False,
        from_scratch=True,
        precision="float32",
    )
    context = Context(Goal(seed=row["seed"]), task, show, options.folder)
    trained = compressc.lower(method(program, context))
    state = trained.state()
    zero = {name: (state[name] != 0).numpy() for name in trained.sparse_weights}
    without = DeadChannels()(trained.with_plan(Plan(zero=zero)), context)
    notes = [note for line in without.history[len(program.history) :] for note in line.notes]
    return compressc.lower(without), notes


def run_row(
    row: dict[str, Any],
    rows: list[dict[str, Any]],
    task: ClassificationTask,
    options: argparse.Namespace,
) -> dict[str, Any]:
    space = find_space(row["space"])
    program = supernet(space, task, row["seed"])
    watch, notes = Stopwatch(), []
    if row["kind"] == "searched":
        choice, notes = search(row, program, task, options)
    elif row["kind"] == "random":
        choice = draw(space, program, 100 * row["seed"] + row["number"])
    else:
        dense = {**row, "kind": "searched", "sparsity": 0.0}
        choice = next(r["choice"] for r in rows if all(r[key] == dense[key] for key in KEY))
    searched = watch.read()
    small, lines = train(
        row, compressc.lower(program.with_plan(Plan(choice=choice))), task, options
    )
    taken = watch.read()
    if options.folder is not None:
        compressc.save(small, options.folder / f"{name_of(row)}.pt2")
    return {
        **row,
        "test_accuracy": round(task.evaluate(small.module().eval()), 2),
        **count(small),
        "choice": choice,
        "search_seconds": round(searched.wall, 1),
        "seconds": round(taken.wall, 1),
        "processor_seconds": round(taken.processor, 1),
        "notes": [*notes, *lines],
    }


def name_of(row: dict[str, Any]) -> str:
    return "-".join(str(row[key]) for key in KEY).replace(" ", "-")


def list_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows, in an order in which a run that is cut short says most."""
    searched = {"kind": "searched", "number": 0}
    first = next(iter(SIZES))
    for sparsity in (0.0, COMPARED_AT):
        for space in SIZES:
            yield {**searched, "space": space, "sparsity": sparsity}
    for space in SIZES:
        compared = {"space": space, "sparsity": COMPARED_AT}
        yield {**compared, "kind": "pruned later", "number": 0}
        for number in range(RANDOM):
            yield {**compared, "kind": "random", "number": number}
        if space == first:
            for sparsity in (0.95, 0.8, 0.5):
                for each in SIZES:
                    yield {**searched, "space": each, "sparsity": sparsity}


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return, per space, the reduction within a point, and what searching was worth."""
    summary = {}
    for space in SIZES:
        mine = [row for row in rows if row["space"] == space]
        searched = {row["sparsity"]: row for row in mine if row["kind"] == "searched"}
        if 0.0 not in searched:
            continue
        dense = searched[0.0]
        good = [r for r in searched.values() if dense["test_accuracy"] - r["test_accuracy"] < 1]
        best = max(good, key=lambda row: row["sparsity"])
        random = [row["test_accuracy"] for row in mine if row["kind"] == "random"]
        later = [row["test_accuracy"] for row in mine if row["kind"] == "pruned later"]
        summary[space] = {
            "sparsest_within_a_point": best["sparsity"],
            "params_reduction": round(dense["params_left"] / best["params_left"], 2),
            "macs_reduction": round(dense["macs_left"] / best["macs_left"], 2),
            "asked": ASKED[space],
            "accuracies": {str(s): r["test_accuracy"] for s, r in searched.items()},
            "at": COMPARED_AT,
            "random_accuracies": random,
            "random_mean": round(float(np.mean(random)), 2) if random else None,
            "pruned_later": later[0] if later else None,
        }
    return summary


def measure_speed(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return p50 of each space's dense network, and of its sparse one dense and in the engine."""
    speed = {}
    kept = {(row["space"], row["sparsity"]): row for row in rows if row["kind"] == "searched"}
    for space in SIZES:
        files = {}
        for sparsity in (0.0, *SPARSITIES[-2:]):
            row = kept.get((space, sparsity))
            if row is None:
                continue
            program = compressc.load(str(options.folder / f"{name_of(row)}.pt2"))
            model = export_onnx(program)
            files[f"{sparsity} dense"] = options.folder / f"{name_of(row)}.onnx"
            onnx.save(model, files[f"{sparsity} dense"])
            if sparsity:
                name = f"{sparsity} sparse engine"
                files[name] = options.folder / f"{name_of(row)}-engine.onnx"
                onnx.save(emit_sparse_nodes(model).model, files[name])
        if not files:
            continue
        timed = bench(list(files.values()), threads=1, seconds=10.0, peak_rss=False)
        speed[space] = {
            name: round(each.latency_p50_ms, 4)
            for name, each in zip(files, timed.measurements, strict=True)
        }
        print(space, speed[space], flush=True)
    return {**speed, **describe_environment()}


def compare_on_resnet20(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what is left of a trained ResNet-20 with 90 % zeros, put in by both ways."""
    task = open_task(options.data, input_shape=(3, 32, 32), batch_size=options.batch_size)
    assert isinstance(task, ClassificationTask)
    task = take_images(task, options.final_images, 1000)
    program = compressc.load(str(options.resnet20), arch="resnet20", input_shape=(3, 32, 32))
    context = Context(Goal(seed=0), task, show, options.folder, program)
    base = round(task.evaluate(program.module().eval()), 2)
    rows = []
    for kind in ("gradual", "sparsify"):
        watch = Stopwatch()
        if kind == "gradual":
            method = Gradual(epochs=options.final_epochs, sparsity=COMPARED_AT, prune_every=4)
            small = compressc.lower(method(compressc.lower(program), context))
        else:
            sparse = compressc.lower(Sparsify(COMPARED_AT)(program, context))
            small = Finetune(epochs=options.final_epochs)(sparse, context)
        taken = watch.read()
        rows.append(
            {
                "kind": kind,
                "network": "resnet20",
                "images": len(task.data.train),
                "epochs": options.final_epochs,
                "batch_size": options.batch_size,
                "base_test_accuracy": base,
                "test_accuracy": round(task.evaluate(small.module().eval()), 2),
                **count(small),
                "seconds": round(taken.wall, 1),
                "processor_seconds": round(taken.processor, 1),
                **describe_environment(),
            }
        )
        print(rows[-1], flush=True)
    return rows


def show(done: int, total: int, text: str) -> None:
    if total and done % 400 in (0, 1):
        print(f"    {done}/{total} {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, help="for the state of rows, and their networks")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=2000, help="training images of a search")
    parser.add_argument("--mixed-images", type=int, default=640, help="the same for mixtures")
    parser.add_argument("--search-epochs", type=int, default=3)
    parser.add_argument("--controller-steps", type=int, default=12)
    parser.add_argument("--children", type=int, default=5)
    parser.add_argument("--final-images", type=int, default=20_000)
    parser.add_argument("--final-epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--speed", action="store_true", help="time the networks that were kept")
    parser.add_argument("--resnet20", type=Path, help="compare gradual on this checkpoint")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    document = read_record(options.out)
    if options.speed:
        document["latency_p50_ms"] = measure_speed(options, document["rows"])
        write_record(options.out, document)
        return
    if options.resnet20 is not None:
        document["resnet20"] = compare_on_resnet20(options)
        write_record(options.out, document)
        return
    task = open_task(options.data, batch_size=options.batch_size)
    assert isinstance(task, ClassificationTask)
    done = {tuple(row[key] for key in KEY) for row in document["rows"]}
    for row in ({**row, "seed": seed} for seed in options.seed for row in list_rows()):
        if tuple(row[key] for key in KEY) in done:
            continue
        print(f"{row}", flush=True)
        row = run_row(row, document["rows"], task, options)
        row |= {
            "size": vars(SIZES[row["space"]]),
            "images": options.mixed_images if row["space"] in MIXED else options.images,
            "search_epochs": options.search_epochs,
            "controller_steps": options.controller_steps,
            "children": options.children,
            "final_images": options.final_images,
            "final_epochs": options.final_epochs,
            "learning_rate": options.learning_rate,
            "batch_size": options.batch_size,
            "threads": 1,
            **describe_environment(),
        }
        document["rows"].append(row)
        document["summary"] = summarize(document["rows"])
        write_record(options.out, document)
        print(f"  {row['test_accuracy']} %, {row['params_left']} params left", flush=True)


if __name__ == "__main__":
    main()
