"""Time of a training step with agents against one without, in turns on the same batches.

Claim: at most 1.3 times (ResNet-20, batch 128, CPU). Both are steps of the same learner, in the
joint mode with actions for every image; the ratio is taken pair by pair, so that a busy machine
disturbs both, and from processor time too. Loading a batch costs both the same and is left out,
which makes the ratio worse than that of an epoch.

    python benchmarks/decore_speed.py --threads 1 --steps 20
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from kit.precisions import measure_precisions
from kit.turns import median_seconds, summarize_ratios, take_turns, time_call
from torch import Tensor, nn

import compressc
from compressc.models.registry import architectures, build
from compressc.passes.decore.exercises import JointExercise
from compressc.passes.decore.policies import Policies
from compressc.passes.gates.gated_units import find_gated_units
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings


class Labels:
    """The part of a task that a step needs."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def validate(self, _module: nn.Module) -> float:
        """Judge nothing."""
        return 0.0


def compare(precision: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    shape = architectures()[options.arch].input_shape
    program = compressc.capture(build(options.arch).eval(), (torch.randn(2, *shape),))
    processes, settings, task = Processes(), TrainingSettings(), Labels()
    chosen = choose_precision(precision, processes.device)
    agents = find_gated_units(program)
    policies = Policies(agents, 6.9, 0.01, "image", False, 10.0, processes)
    steps = 10 * options.steps
    lesson = JointExercise(
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
    runs = {
        "agents": partial(time_call, partial(lesson.step, batch)),
        "plain": partial(time_call, partial(learner.step, batch, objective)),
    }
    times = take_turns(runs, options.steps, warmup=2)
    return {
        "precision": precision,
        "agents": agents.count,
        "gates": len(agents.gates),
        "seconds_per_step": {
            name: round(median_seconds(taken), 4) for name, taken in times.items()
        },
        **summarize_ratios("agents_by_plain", times["agents"], times["plain"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    measure_precisions(parser, compare, settings=("steps",))


if __name__ == "__main__":
    main()
