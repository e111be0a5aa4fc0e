"""How fast ASCAI's candidates are judged: by the network's depth and by the number of workers.

Claims: a search spends less than 5 % of its time outside evaluation, at any depth, also where
every candidate is moved to a target. Rows with workers say what these are worth: one worker has all
cores for its threads, several share them. The networks are untrained and the images noise, since
only time counts: every candidate is cut for real, gets batch norm statistics anew and runs over the
samples. ``start_seconds`` is what it takes until the first answers are there, which for workers is
the start of their processes and the one copy of the network that each gets; the rate is that of the
search behind it.

    python benchmarks/ascai_speed.py --trials 16
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from kit.records import describe_run, write_record

import compressc
from compressc.clock import ignore_progress
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.models.registry import build
from compressc.models.training_data import DataSet, Labeled
from compressc.passes.ascai.breeding import Breeding
from compressc.passes.ascai.evolution import Evolution
from compressc.passes.ascai.genetic_search import Ascai
from compressc.passes.ascai.judging import Judging
from compressc.passes.ascai.searched import Searched
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

PLAIN = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Share of the MACs that every candidate is moved to.
TARGET = 0.5
DEPTHS = ("resnet20", "resnet56", "resnet110")


def make_task(samples: int) -> ClassificationTask:
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Labeled:
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return Labeled(images, torch.randint(0, 10, (count,), generator=generator))

    data = DataSet("noise", part(512), part(samples), part(1), 0)
    return ClassificationTask(data, tuple("0123456789"), PLAIN)


def measure(
    program: Program,
    task: ClassificationTask,
    spaces: str,
    workers: int,
    trials: int,
) -> dict[str, float]:
    search = Ascai(
        Searched(tuple(spaces.split(",")), importance="magnitude"),  # type: ignore[arg-type]
        Judging(recalibrate=128, search_drop=100.0, workers=workers),
        Breeding(generations=10**6),
    )
    context = Context(Goal(macs=TARGET, trials=trials), task=task)
    space = search.searched.build_space(program, task, 0)
    bounding = search.bound(space, context)
    with search.judging.open_executor() as executor:
        evaluator = search.judging.open_evaluator(program, task, context, executor, ignore_progress)
        assessment = search.open_assessment(space, bounding, evaluator, context)
        started = time.perf_counter()
        # One candidate for every slot, so that each worker has the network.
        shares = np.linspace(0.1, 0.2, max(1, 2 * workers))[:, None]
        assessment.assess(space.whole + shares * (space.least - space.whole))
        begun, judged, inside = time.perf_counter(), len(evaluator.trials), evaluator.seconds
        Evolution(assessment, search.breeding, context.rng, context.progress).run()
        wall = time.perf_counter() - begun
        count = len(evaluator.trials) - judged
    return {
        "hyper_parameters": len(space.coordinates),
        "trials": count,
        "start_seconds": round(begun - started, 2),
        "seconds": round(wall, 2),
        "evaluations_per_second": round(count / wall, 3),
        "overhead": round(1 - (evaluator.seconds - inside) / wall, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = make_task(options.samples)
    programs = {
        name: compressc.capture(build(name).eval(), (torch.randn(2, 3, 32, 32),)) for name in DEPTHS
    }
    runs = [(name, spaces, 0) for name in DEPTHS for spaces in ("ps", "ps,svd,tucker")]
    runs += [("resnet56", "ps", workers) for workers in options.workers]
    rows = []
    for name, spaces, workers in runs:
        measured = measure(programs[name], task, spaces, workers, options.trials)
        row = {"model": name, "spaces": spaces, "workers": workers, "target": TARGET}
        rows.append({**row, **measured})
        print(rows[-1], flush=True)
        document = {
            "samples": options.samples,
            "threads": 1,
            **describe_run(),
            "rows": rows,
        }
        write_record(options.out, document)


if __name__ == "__main__":
    main()
