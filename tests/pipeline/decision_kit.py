"""Tests of the channel step share a network of one wide layer, and what its passes keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

import compressc
from compressc.clock import Clock, ignore_progress
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.decisions import decide
from compressc.pipeline.job import Job
from compressc.plan import Plan
from compressc.program import Program

CHANNELS = 100


def wide_program() -> Program:
    """Return a program whose one group, "0", has a hundred channels."""
    torch.manual_seed(0)
    return compressc.capture(
        nn.Sequential(nn.Conv2d(3, CHANNELS, 1, bias=False), nn.ReLU(), nn.Conv2d(CHANNELS, 3, 1)),
        (torch.randn(2, 3, 4, 4),),
    )


def keep_by_step(program: Program, kept: Sequence[tuple[int, int]]) -> Program:
    """Keep the number of channels that is set for the program's step.

    Raises:
        GoalError: if none is: the goal is out of reach at this step.
    """
    step = program.constraints.multiple_of
    found = dict(kept).get(step)
    if found is None:
        raise GoalError(f"out of reach at {step}")
    return program.with_plan(Plan(keep={"0": np.arange(CHANNELS) < found}))


def run(
    program: Program,
    *passes: Pass,
    may_relax: bool = True,
    step: int = 16,
    clock: Clock | None = None,
) -> Artifact:
    """Let the passes decide for half of the MACs."""
    artifact = Artifact(
        Job(program),
        clock or Clock(ignore_progress),
        program,
        program,
        channel_step=step,
        may_relax=may_relax,
    )
    return decide(artifact, passes, Context(goal=Goal(macs=0.5)))
