"""Time of SNN's epochs against one of plain training, in turns on the same images.

Claim: averaged over even epochs (switchers) and odd ones (network), at most 1.5 times. An epoch is
whole: loading and augmenting, reading the weights, the threshold, and running statistics. All are
steps of the same learner; the ratio is taken pair by pair, so that a busy machine disturbs both,
and from processor time too. Fewer images than MNIST has make it worse for SNN, whose readings at
the beginning and the end of an epoch cost the same.

    python benchmarks/snn_speed.py --data mnist --arch lenet300_100 lenet5_caffe
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from kit.records import describe_run, read_record, write_record
from kit.turns import Seconds, Stopwatch, median_seconds, summarize_ratios, take_turns

import compressc
from compressc.datasets.opening import open_task
from compressc.models.registry import architectures, weights_path
from compressc.passes.snn.settings import Mode, SnnSettings
from compressc.passes.snn.sparsity_aim import SparsityAim
from compressc.passes.snn.switch_lesson import SwitchLesson
from compressc.passes.snn.switched_layers import find_switched_layers
from compressc.passes.snn.switchers import Switchers
from compressc.passes.training.descent import Descent
from compressc.passes.training.learner import Learner
from compressc.passes.training.lesson import Lesson
from compressc.passes.training.network_lesson import NetworkLesson
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

STEPS = 10_000  # of a run that nobody finishes


def teach(lesson: Lesson, epoch: int, task: ClassificationTask) -> Seconds:
    """Return what one epoch takes."""
    watch = Stopwatch()
    lesson.begin_epoch(epoch)
    for batch in task.train_batches(epoch, 0):
        lesson.step(batch)
    lesson.end_epoch()
    return watch.read()


def compare(
    program: Program, task: ClassificationTask, mode: Mode, every: int, rounds: int
) -> dict[str, Any]:
    settings = SnnSettings(mode=mode, schedule="cosine", warmup=0.0, switch_every=every)
    processes, objective = Processes(), TaskLoss(task)
    precision = choose_precision(settings.precision, processes.device)
    layers, _ = find_switched_layers(program, "fc", mode)

    def learner() -> Learner:
        return Learner(program, settings, STEPS, processes, precision)

    torch.manual_seed(0)
    switchers = Switchers(layers, settings)
    switching = SwitchLesson(
        task,
        objective,
        processes,
        learner(),
        switchers,
        Descent(switchers, settings, STEPS),
        [SparsityAim(program, 0.84, layers)],
        settings.threshold,
        settings.switch_every,
        20,
    )
    plain = NetworkLesson(program, task, settings, processes, learner(), objective)
    runs = {
        "plain": lambda: teach(plain, 0, task),
        "even": lambda: teach(switching, 18, task),
        "odd": lambda: teach(switching, 19, task),
    }
    times = take_turns(runs, rounds, warmup=1)
    mean = [
        Seconds((even.wall + odd.wall) / 2, (even.processor + odd.processor) / 2)
        for even, odd in zip(times["even"], times["odd"], strict=True)
    ]
    return {
        "mode": mode,
        "switch_every": every,
        "precision": str(precision),
        "seconds_per_epoch": {name: round(median_seconds(each), 3) for name, each in times.items()},
        **summarize_ratios("even_by_plain", times["even"], times["plain"]),
        **summarize_ratios("odd_by_plain", times["odd"], times["plain"]),
        **summarize_ratios("mean_by_plain", mean, times["plain"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--arch", nargs="+", default=["lenet300_100"])
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--switch-every", type=int, default=SnnSettings().switch_every)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for arch in options.arch:
        shape = architectures()[arch].input_shape
        task = open_task(options.data, input_shape=shape, batch_size=64)
        assert isinstance(task, ClassificationTask)
        train = task.data.train.take(torch.arange(options.images))
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, train=train))
        program = compressc.load(str(weights_path(arch)), arch=arch, input_shape=shape)
        modes: tuple[Mode, ...] = ("connection", "neuron")
        for mode in modes:
            compared = compare(program, task, mode, options.switch_every, options.rounds)
            rows.append({"arch": arch, **compared})
            print(rows[-1], flush=True)
    made = {**describe_run(), "images": options.images, "rounds": options.rounds, "threads": 1}
    earlier = read_record(options.out)["rows"]
    write_record(options.out, {"rows": [*earlier, *({**row, **made} for row in rows)]})


if __name__ == "__main__":
    main()
