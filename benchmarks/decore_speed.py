"""Time of a training step with agents against one without, in turns on the same batches.

Claim: at most 1.3 times (ResNet-20, batch 128, CPU). Both are steps of the same learner, in the
joint mode with actions for every image; the ratio is taken pair by pair, so that a busy machine
disturbs both, and from processor time too. Loading a batch costs both the same and is left out,
which makes the ratio worse than that of an epoch.

    python benchmarks/decore_speed.py --threads 1 --steps 20
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.models.registry import architectures, build
from compressc.passes.decore.agents import find_agents
from compressc.passes.decore.lessons import JointLesson
from compressc.passes.decore.policies import Policies
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from compressc.runtime.machine import describe_machine


class Labels:
    """The part of a task that a step needs."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def validate(self, _module: nn.Module) -> float:
        """Judge nothing."""
        return 0.0


def timed(call: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(precision: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    shape = architectures()[options.arch].input_shape
    program = compressc.capture(build(options.arch).eval(), (torch.randn(2, *shape),))
    processes, settings, task = Processes(), TrainingSettings(), Labels()
    chosen = choose_precision(precision, processes.device)
    agents = find_agents(program)
    policies = Policies(agents, 6.9, 0.01, "image", False, 10.0, processes)
    steps = 10 * options.steps
    lesson = JointLesson(
        program,
        settings,
        steps,
        task,
        agents,
        policies,
        processes,
        chosen,  # type: ignore[arg-type]
    )
    learner = Learner(program, settings, steps, processes, chosen)
    objective = TaskLoss(task)  # type: ignore[arg-type]
    images = torch.randn(options.batch_size, *shape).contiguous(memory_format=torch.channels_last)
    batch = ((images,), torch.randint(0, 10, (options.batch_size,)))
    lesson.begin_epoch()
    learner.begin_epoch()
    runs = {"agents": partial(lesson.step, batch), "plain": partial(learner.step, batch, objective)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(options.steps + 2):
        for name in list(runs) if number % 2 else list(runs)[::-1]:
            taken = timed(runs[name])
            if number >= 2:  # the first ones warm up
                times[name].append(taken)
    ratios = [
        [
            one[kind] / other[kind]
            for one, other in zip(times["agents"], times["plain"], strict=True)
        ]
        for kind in (0, 1)
    ]
    return {
        "precision": precision,
        "agents": agents.count,
        "gates": len(agents.gates),
        "seconds_per_step": {
            name: round(statistics.median(wall for wall, _ in found), 4)
            for name, found in times.items()
        },
        "agents_by_plain": summary(ratios[0]),
        "agents_by_plain_processor_time": summary(ratios[1]),
    }


def summary(ratios: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": round(median, 4), "quartile1": round(low, 4), "quartile3": round(high, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for precision in options.precision:
        rows.append(compare(precision, options))
        print(json.dumps(rows[-1], indent=1), flush=True)
    document = {
        "command": " ".join(["python", *sys.argv]),
        "network": options.arch,
        "batch_size": options.batch_size,
        "steps": options.steps,
        "threads": options.threads,
        "machine": describe_machine().to_dict(),
        "torch": torch.__version__,
        "rows": rows,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
