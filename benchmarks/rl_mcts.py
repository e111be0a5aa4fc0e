"""RL-MCTS against random search, ASCAI and surgeon with the same number of evaluations.

Claims: on MNIST LeNet-5 at 95.6 % fewer FLOPs RL-MCTS finds better candidates than random search
on 5 of 5 seeds, and keeps 99.28 % after fine-tuning; on ResNet-56 and CIFAR-10-JPEG at 55 % fewer,
judged after ``calibrate`` and without training, it is at least 0.5 points above random search and
above ASCAI's ``ps``, and not below ``surgeon``. Every searcher judges the same samples of
search-validation under the same conditions, and as many distinct candidates; ``random`` plays games
of random moves. ``surgeon`` judges none. The test split is read once per stage of a row, and
nothing is chosen by it. A row is written when it is finished, and rows that are there are not run
again.

    python benchmarks/rl_mcts.py --case lenet5 --data mnist/ --searcher rl-mcts random \
        --seed 0 1 2 3 4 --trials 150 --val-samples 1500
    python benchmarks/rl_mcts.py --case resnet56 --data cifar10-jpeg.tar.gz \
        --model resnet56-cifar10-jpeg.pt --searcher rl-mcts random ascai surgeon --seed 0 \
        --trials 120
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from finetune import NORMALIZATION
from kit.clock import Clock
from kit.records import describe_run, read_record, write_record

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.checkpoints import load_checkpoint
from compressc.models.registry import weights_path
from compressc.pass_fields import build_pass
from compressc.passes.ascai.genetic_search import Ascai
from compressc.passes.distill import Distill
from compressc.passes.finetune import Finetune
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.rl_mcts.channel_pruning import RlMcts
from compressc.passes.rl_mcts.preparation import prepare
from compressc.passes.rl_mcts.pruning_game import PruningGame
from compressc.passes.surgeon import Surgeon
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.program import HistoryLine, Program
from compressc.search.batch_norms import with_statistics
from compressc.search.evaluation import Evaluator
from compressc.tasks.classification import ClassificationTask

Search = Callable[[argparse.Namespace, Program, Context], Program]
# Share of the MACs that is left.
TARGETS = {"lenet5": 0.044, "resnet56": 0.45}
SETTINGS = (
    "simulations self_plays ends_per_game segment units_per_move guide wander criterion judge "
    "net_width net_epochs net_rate"
).split()
CONDITIONS = ("trials", "val_samples", "recalibrate")
KEY = ("case", "searcher", "seed", *CONDITIONS, *SETTINGS, "finetune", "epochs")


def search_by_play(options: argparse.Namespace, program: Program, context: Context) -> Program:
    pruned = _rl_mcts(options)(program, context)
    assert isinstance(pruned, Program)
    return pruned


def search_at_random(options: argparse.Namespace, program: Program, context: Context) -> Program:
    """Judge ends of games of random moves; the best wins."""
    search, task = _rl_mcts(options), context.task
    assert isinstance(task, ClassificationTask)
    samples = UnitSamples(task, search.feature_samples, context.goal.seed, "random")
    prepared = prepare(
        program,
        context,
        search.lookahead,
        lambda measured, name: measure_feature(measured, name, samples),
        "random",
    )
    units = prepared.route.units
    game = PruningGame(
        units, prepared.route.aim_at(1.0), prepared.allowed, search.lookahead.units_per_move
    )
    seed = context.goal.seed
    repair = search.weights.open_repair(program, task, seed, "random", context.progress)
    conditions = search.judging.conditions(seed)
    evaluator = Evaluator(program, task, context.goal, conditions, repair=repair)
    rng = context.rng("random search")
    curve: list[float] = []
    best, kept = -1.0, units.everything
    while not evaluator.is_spent:
        end = game.play_at_random(game.position(units.everything), rng)
        (trial,) = evaluator.evaluate([units.plan_of(end.kept)])
        if trial is not None and trial.metric > best:
            best, kept = trial.metric, end.kept
        curve.append(best)
    decided = program.with_plan(units.plan_of(kept))
    if repair is not None:
        decided = repair.repaired(decided)
    if search.judging.recalibrate:
        decided = with_statistics(decided, evaluator.calibration)
    note = f"search-validation metric {best:.4g}, the original's {evaluator.base:.4g}"
    return decided.with_line(HistoryLine("random", notes=("", note)))


def search_by_genes(options: argparse.Namespace, program: Program, context: Context) -> Program:
    settings = {
        "spaces": ("ps",),
        "importance": "reconstruction" if options.guide == "reconstruction" else "gradient",
        "generations": 10**6,
        "val_samples": options.val_samples,
        "recalibrate": options.recalibrate,
        "judge": options.judge,
        "elite": 2,
    }
    pruned: Program = build_pass(Ascai, settings)(program, context)
    return pruned


def cut_by_surgeon(_options: argparse.Namespace, program: Program, context: Context) -> Program:
    return Surgeon()(program, context).with_line(HistoryLine("surgeon"))


SEARCHERS: dict[str, Search] = {
    "rl-mcts": search_by_play,
    "random": search_at_random,
    "ascai": search_by_genes,
    "surgeon": cut_by_surgeon,
}


def _rl_mcts(options: argparse.Namespace) -> RlMcts:
    settings = {name: getattr(options, name) for name in SETTINGS}
    settings |= {"val_samples": options.val_samples, "recalibrate": options.recalibrate}
    search: RlMcts = build_pass(RlMcts, {**settings, "history": options.history})
    return search


def run_row(
    options: argparse.Namespace,
    searcher: str,
    seed: int,
    program: Program,
    task: ClassificationTask,
) -> dict[str, Any]:
    goal = Goal(macs=TARGETS[options.case], trials=options.trials, seed=seed)
    context = Context(goal, task, show, options.work_dir, program)
    clock = Clock()
    pruned = clock.time("search", lambda: SEARCHERS[searcher](options, program, context))
    line = pruned.history[-1]
    accuracies = {"as_found": _test(task, pruned)}
    decided = program.with_plan(pruned.plan)
    repaired = clock.time("calibrate", lambda: Calibration()(decided, context))
    accuracies["calibrated"] = _test(task, repaired)
    if options.epochs:
        small = compressc.lower(repaired)
        train = {"distill": Distill, "finetune": Finetune}[options.finetune]
        tuned = clock.time(
            "train",
            lambda: train(epochs=options.epochs, learning_rate=options.learning_rate)(
                small, replace(context, work_dir=None)
            ),
        )
        accuracies["trained"] = _test(task, tuned)
    metric = [n.split("metric ")[1].split(",")[0] for n in line.notes if "validation metric" in n]
    return {
        "case": options.case,
        "searcher": searcher,
        "seed": seed,
        **{name: getattr(options, name) for name in (*CONDITIONS, *SETTINGS, "finetune", "epochs")},
        "macs_left": round(cost_of(pruned).macs / cost_of(program).macs, 4),
        "params_left": round(cost_of(pruned).params / cost_of(program).params, 4),
        "widths": {name: int(mask.sum()) for name, mask in pruned.plan.keep.items()},
        "search_validation_as_found": float(metric[0]) if metric else None,
        "test_accuracy": accuracies,
        "numbers": {name: round(number, 1) for name, number in line.numbers.items()},
        "notes": list(line.notes),
        "steps": clock.steps,
    }


def _test(task: ClassificationTask, program: Program) -> float:
    return round(task.evaluate(compressc.lower(program).module()), 2)


def show(done: int, total: int, text: str) -> None:
    if "segment" in text:
        print(f"    {done}/{total} {text}", end="\r", flush=True)


def load(options: argparse.Namespace) -> tuple[Program, ClassificationTask]:
    if options.case == "lenet5":
        path = weights_path("lenet5")
        program = compressc.load(path)
        task = open_task(options.data, normalization=load_checkpoint(path).normalization)
    else:
        program = compressc.load(options.model, arch="resnet56", input_shape=(3, 32, 32))
        task = open_task(options.data, normalization=NORMALIZATION, input_shape=(3, 32, 32))
    assert isinstance(task, ClassificationTask)
    return program, task


def count_wins(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return on how many seeds RL-MCTS found a better candidate than random search."""
    wins = {}
    for case in TARGETS:
        scores: dict[str, dict[int, float]] = {"rl-mcts": {}, "random": {}}
        for row in rows:
            if row["case"] == case and row["searcher"] in scores:
                scores[row["searcher"]].setdefault(row["seed"], row["search_validation_as_found"])
        both = scores["rl-mcts"].keys() & scores["random"].keys()
        won = sum(scores["rl-mcts"][seed] > scores["random"][seed] for seed in both)
        wins[f"{case}: rl-mcts over random"] = f"{won} of {len(both)}"
    return wins


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=list(TARGETS), default="lenet5")
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", help="checkpoint of resnet56")
    parser.add_argument("--searcher", choices=list(SEARCHERS), nargs="+", default=["rl-mcts"])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--val-samples", type=int, default=1500)
    parser.add_argument("--recalibrate", type=int, default=0)
    parser.add_argument("--simulations", type=int, nargs="+", default=[20])
    parser.add_argument("--self-plays", type=int, default=5)
    parser.add_argument("--segment", type=float, default=0.2)
    parser.add_argument("--units-per-move", type=int, default=16)
    parser.add_argument("--guide", default="reconstruction")
    parser.add_argument("--criterion", default="accuracy")
    parser.add_argument("--ends-per-game", type=int, default=8)
    parser.add_argument("--wander", type=float, default=0.5)
    parser.add_argument("--judge", choices=("repaired", "as-cut"), default="repaired")
    parser.add_argument("--net-width", type=int, default=4)
    parser.add_argument("--net-epochs", type=int, default=3)
    parser.add_argument("--net-rate", type=float, default=1e-3)
    parser.add_argument("--finetune", choices=("distill", "finetune"), default="distill")
    parser.add_argument("--epochs", type=int, default=0, help="of training behind calibrate")
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--history", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work-dir", type=Path, help="for the state of a row")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    program, task = load(options)
    document = {"threads": options.threads, **describe_run()}
    document["base"] = read_record(options.out).get("base", {})
    document["rows"] = read_record(options.out)["rows"]
    if options.case not in document["base"]:
        document["base"][options.case] = round(task.evaluate(program.module()), 2)
    for simulations in options.simulations:
        for seed in options.seed:
            for searcher in options.searcher:
                asked = argparse.Namespace(**{**vars(options), "simulations": simulations})
                key = {**vars(asked), "searcher": searcher, "seed": seed}
                if any(all(row[name] == key[name] for name in KEY) for row in document["rows"]):
                    continue
                print(f"{options.case}, {searcher}, seed {seed}", flush=True)
                row = run_row(asked, searcher, seed, program, task)
                document["rows"].append({**row, "command": document["command"]})
                document["wins"] = count_wins(document["rows"])
                write_record(options.out, document)
                print(f"  {row['search_validation_as_found']} {row['test_accuracy']}", flush=True)


if __name__ == "__main__":
    main()
