"""ASCAI against uniform pruning, random search and NSGA-II, and its ablations.

Claims: with the same budget of evaluations on the same space, ASCAI's best score is better than
that of uniform compression, random search and Optuna's NSGA-II on at least four of five seeds;
the search itself takes less than 5 % of the time. Every searcher sees the search-validation split
only and is charged for every distinct candidate, ASCAI also for its warm start; the test split is
evaluated once, on what each searcher found. NSGA-II is given metric and cost as two goals, and
the best score of all its candidates counts.

Run: pip install 'compressc[benchmark]', then
    python benchmarks/ascai.py --case digits
    python benchmarks/ascai.py --case mnist --data mnist/ --arch lenet5_caffe
    python benchmarks/ascai.py --case cifar --data cifar10-jpeg.tar.gz --model resnet56.pt \
        --arch resnet56 --spaces ps --recalibrate 256 --val-samples 2000
    python benchmarks/ascai.py --case mnist --data mnist/ --ablation start
    python benchmarks/ascai.py --case mnist --data mnist/ --ablation population --trials 500 \
        --seeds 3 --arch lenet5_caffe --val-samples 500 --search-drop 1.0
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from kit.records import describe_run, read_record, write_record

import compressc
from compressc.clock import ignore_progress
from compressc.contract.context import Context
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization, load_checkpoint
from compressc.models.digits_data import digits_split
from compressc.models.registry import weights_path
from compressc.models.training_data import DataSet, Labeled
from compressc.passes.ascai.assessment import Assessment
from compressc.passes.ascai.breeding import Breeding
from compressc.passes.ascai.evolution import Evolution
from compressc.passes.ascai.genetic_search import Ascai
from compressc.passes.ascai.judging import Judging
from compressc.passes.ascai.searched import Searched
from compressc.passes.spaces.coordinates import Point
from compressc.program import Program
from compressc.search.batch_norms import with_statistics
from compressc.search.history import ScoredPoint
from compressc.tasks.classification import ClassificationTask

CIFAR = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Candidates that a searcher may propose without a new plan among them.
PATIENCE = 400


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    program, task = load(options)
    search = Ascai(
        Searched(tuple(options.spaces.split(","))),
        Judging(
            score=options.score,
            search_drop=options.search_drop,
            val_samples=options.val_samples,
            recalibrate=options.recalibrate,
            workers=options.workers,
            dask=options.dask,
        ),
        Breeding(options.population, generations=10**6, elite=options.elite),
    )
    variants = make_variants(search, options)
    settings = {
        "case": options.case,
        "model": options.arch,
        **{
            name: getattr(options, name)
            for name in (
                "spaces score trials val_samples recalibrate search_drop population elite "
                "multiple_of threads workers ablation"
            ).split()
        },
    }
    rows = finished_rows(options.out, settings)
    for seed in range(options.seeds):
        for name, (configured, searcher) in variants.items():
            if any(row["searcher"] == name and row["seed"] == seed for row in rows):
                continue
            row = run(name, configured, searcher, program, task, seed, options.trials)
            rows.append(row)
            print({k: v for k, v in row.items() if k != "curve"}, flush=True)
            document = {
                **settings,
                **describe_run(),
                "wins": count_wins(rows),
                "rows": rows,
            }
            write_record(options.out, document)


def finished_rows(path: Path, settings: dict[str, object]) -> list[dict[str, object]]:
    """Return the rows of an earlier run that was cut off; none if it had other settings."""
    document = read_record(path)
    same = all(document.get(name) == value for name, value in settings.items())
    return list(document["rows"]) if same else []


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", choices=("digits", "mnist", "cifar"), default="digits")
    parser.add_argument("--data", help="of mnist and cifar")
    parser.add_argument("--model", help="checkpoint; by default the one of compressc.models")
    parser.add_argument("--arch")
    parser.add_argument("--spaces", default="ps,svd,tucker")
    parser.add_argument("--score", default="macs")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--elite", type=int, default=0)
    parser.add_argument("--search-drop", type=float)
    parser.add_argument("--val-samples", type=int, default=0)
    parser.add_argument("--recalibrate", type=int, default=0)
    parser.add_argument("--multiple-of", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--dask", default="")
    parser.add_argument("--only", help="searchers, joined by commas")
    parser.add_argument("--ablation", choices=("start", "population"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    options.arch = (
        options.arch
        or {
            "digits": "digits_resnet",
            "mnist": "lenet5_caffe",
            "cifar": "resnet56",
        }[options.case]
    )
    return options


def load(options: argparse.Namespace) -> tuple[Program, ClassificationTask]:
    """Return the trained network and its data."""
    path = Path(options.model) if options.model else weights_path(options.arch)
    assert path is not None, f"no trained weights of {options.arch}; give --model"
    if options.case == "digits":
        program, task = compressc.load(path), digits_task(path)
    elif options.case == "mnist":
        program = compressc.load(path)
        task = open_task(options.data, normalization=load_checkpoint(path).normalization)
    else:
        program = compressc.load(path, arch=options.arch, input_shape=(3, 32, 32))
        task = open_task(options.data, normalization=CIFAR, input_shape=(3, 32, 32))
    constraints = compressc.Constraints(multiple_of=options.multiple_of)
    assert isinstance(task, ClassificationTask)
    return program.with_constraints(constraints), task


def digits_task(path: Path) -> ClassificationTask:
    split = digits_split(0)
    parts = (
        Labeled(torch.from_numpy(images), torch.from_numpy(labels))
        for images, labels in (
            (split.train_images, split.train_labels),
            (split.val_images, split.val_labels),
            (split.test_images, split.test_labels),
        )
    )
    data = DataSet("digits", *parts, 0)
    return ClassificationTask(data, tuple("0123456789"), load_checkpoint(path).normalization)


Searcher = Callable[[Ascai, Assessment, Context], None]


def make_variants(search: Ascai, options: argparse.Namespace) -> dict[str, tuple[Ascai, Searcher]]:
    if options.ablation == "start":
        return {
            start: (
                replace(search, breeding=replace(search.breeding, initialization=start)),
                evolve,
            )
            for start in ("warm", "naive")
        }
    if options.ablation == "population":
        sizes = (10, 20, 50, 100)
        return {
            f"population {size}": (
                replace(search, breeding=replace(search.breeding, population=size)),
                evolve,
            )
            for size in sizes
        }
    searchers: dict[str, Searcher] = {
        "ascai": evolve,
        "uniform": try_uniform,
        "random": try_random,
        "nsga2": try_nsga2,
    }
    chosen = options.only.split(",") if options.only else list(searchers)
    return {name: (search, searchers[name]) for name in chosen}


def run(
    name: str,
    search: Ascai,
    searcher: Searcher,
    program: Program,
    task: ClassificationTask,
    seed: int,
    trials: int,
) -> dict[str, object]:
    """Let one searcher spend its budget, and evaluate what it found on the test split."""
    goal = Goal(seed=seed, trials=trials)
    context = Context(goal, task=task)
    space = search.searched.build_space(program, task, seed)
    bounding = search.bound(space, context)
    with search.judging.open_executor() as executor:
        evaluator = search.judging.open_evaluator(program, task, context, executor, ignore_progress)
        assessment = Watched(search.open_assessment(space, bounding, evaluator, context))
        started, processor = time.perf_counter(), time.process_time()
        searcher(search, assessment, context)
        wall = time.perf_counter() - started
        processor = time.process_time() - processor
    best = assessment.best
    assert best is not None
    decided = program.with_plan(space.plan_of(Point(best.point)))
    if search.judging.recalibrate:
        decided = with_statistics(decided, evaluator.calibration)
    cost = best.trial.cost
    return {
        "searcher": name,
        "seed": seed,
        "score": round(best.score, 4),
        "val_metric": round(best.trial.metric, 2),
        "val_base": round(evaluator.base, 2),
        "test_metric": round(task.evaluate(compressc.lower(decided).module()), 2),
        "test_base": round(task.evaluate(program.module()), 2),
        "macs": round(bounding.bounds.share("macs", cost), 4),
        "params": round(bounding.bounds.share("params", cost), 4),
        "hyper_parameters": len(space.coordinates),
        "trials": len(evaluator.trials),
        "seconds": round(wall, 1),
        "processor_seconds": round(processor, 1),
        "evaluations_per_second": round(len(evaluator.trials) / wall, 2),
        "overhead": round(1 - evaluator.seconds / wall, 4),
        "curve": assessment.curve,
    }


class Watched(Assessment):
    """An assessment that notes the best score after each batch of trials."""

    def __init__(self, plain: Assessment) -> None:
        super().__init__(
            plain.space,
            plain.evaluator,
            plain.scoring,
            plain.bounding,
            plain.price,
            plain.recorder,
        )
        self.curve: list[tuple[int, float]] = []

    def assess(self, population: np.ndarray, bounded: bool = True) -> list[ScoredPoint]:
        """Return what the assessment returns."""
        assessed = super().assess(population, bounded)
        if self.best is not None:
            self.curve.append((len(self.evaluator.trials), round(self.best.score, 4)))
        return assessed


def evolve(search: Ascai, assessment: Assessment, context: Context) -> None:
    Evolution(assessment, search.breeding, context.rng, context.progress).run()


def try_uniform(_search: Ascai, assessment: Assessment, context: Context) -> None:
    """The same share of everything: as many shares as there are trials, evenly spaced."""
    space, trials = assessment.space, context.goal.trials or 0
    # Many shares round to one plan: the finer grid goes on until the budget is spent.
    for points in (trials, 4 * trials, 16 * trials):
        shares = np.linspace(0.0, 1.0, points + 1)[1:]
        vectors = np.stack([space.whole + s * (space.least - space.whole) for s in shares])
        assessment.assess(vectors)
        if assessment.evaluator.is_spent:
            return


def try_random(_search: Ascai, assessment: Assessment, context: Context) -> None:
    """Individuals drawn uniformly from the whole space."""
    space, rng = assessment.space, context.rng("random search")
    while not assessment.evaluator.is_spent:
        drawn = rng.random((50, len(space.whole)))
        steps = np.floor(1 + drawn * space.whole)
        assessment.assess(space.clip(np.where(space.discrete, steps, drawn)))


def try_nsga2(search: Ascai, assessment: Assessment, context: Context) -> None:
    """Optuna's NSGA-II on metric and cost."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    size = search.breeding.size_within(context.goal.trials or 0)
    sampler = optuna.samplers.NSGAIISampler(population_size=size, seed=context.goal.seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    space, idle = assessment.space, 0
    while not assessment.evaluator.is_spent and idle < PATIENCE:
        trial = study.ask()
        vector = [
            trial.suggest_int(str(i), 1, coordinate.steps)
            if coordinate.steps
            else trial.suggest_float(str(i), 0.0, 1.0)
            for i, coordinate in enumerate(space.coordinates)
        ]
        before = len(assessment.evaluator.trials)
        assessed = assessment.assess(np.array([vector], dtype=float))
        if not assessed:
            return
        idle = 0 if len(assessment.evaluator.trials) > before else idle + 1
        judged = assessed[0].trial
        left = assessment.bounding.bounds.share(search.judging.score, judged.cost)
        study.tell(trial, [judged.metric, left])


def count_wins(rows: Sequence[dict[str, object]]) -> dict[str, str]:
    """Return on how many seeds the first searcher beats each of the others."""
    by_seed: dict[object, dict[str, float]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[str(row["searcher"])] = float(str(row["score"]))
    names = list(dict.fromkeys(str(row["searcher"]) for row in rows))
    wins = {}
    for first, other in ((names[0], name) for name in names[1:]):
        pairs = [scores for scores in by_seed.values() if first in scores and other in scores]
        won = sum(scores[first] > scores[other] for scores in pairs)
        wins[f"{first} over {other}"] = f"{won} of {len(pairs)}"
    return wins


if __name__ == "__main__":
    main()
