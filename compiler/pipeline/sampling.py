"""Sampling: inputs made from the network itself, where a job has no data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from compressc.clock import Clock
from compressc.datasets.synthetic.making import SyntheticSettings
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.job import Job
from compressc.pipeline.sample_cache import find_or_make_inputs, identify_samples
from compressc.plan import Plan
from compressc.program import Program
from compressc.tasks.unlabeled import UnlabeledTask, batched_inputs, take_rows

_STAGE = "making synthetic inputs"


def makes_samples(artifact: Artifact) -> bool:
    """Return whether the job has no data, and wants inputs made for it."""
    return artifact.job.makes_samples


def take_samples(artifact: Artifact) -> Artifact:
    """Give the job a task of synthetic inputs.

    Raises:
        DataError: if what the network computes on such inputs is no number.
    """
    return replace(artifact, job=with_samples(artifact.job, artifact.original, artifact.clock))


def with_samples(job: Job, program: Program, clock: Clock) -> Job:
    """Return a job with a task of inputs that were made from a program.

    Args:
        job: without a task.
        program: the original.
        clock: announces what is done.

    Raises:
        DataError: as :func:`compressc.datasets.synthetic.making.make_inputs`.
        OutputError: if the inputs cannot be kept in the work directory.
    """
    whole = replace(program, plan=Plan())
    settings = SyntheticSettings()
    if job.repair.seconds is not None:
        settings = replace(settings, seconds=job.repair.seconds)
    seed = job.goal.seed
    work_dir = Path(job.work_dir) if job.work_dir else None
    with clock.stage(_STAGE):
        made = find_or_make_inputs(whole, settings, seed, clock.within(_STAGE), work_dir)
    # A picture and its mirror image, which lies half of all further on, stay on the same side.
    batched = batched_inputs(whole)
    count = len(made.judging[batched.index(True)])
    val, test = (
        take_rows(made.judging, batched, torch.arange(first, count, 2)) for first in (0, 1)
    )
    task = UnlabeledTask(
        whole,
        made.repairing,
        val,
        test,
        inputs_from="synthetic inputs",
        notes=made.notes,
        identity=identify_samples(whole, settings, seed),
    )
    return replace(job, task=task)
