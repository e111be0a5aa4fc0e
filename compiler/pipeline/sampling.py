"""Sampling: inputs made from the network itself, where a job has no data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from compressc.clock import Clock
from compressc.datasets.synthetic.making import SyntheticSettings
from compressc.datasets.unlabeled_files import open_arrays
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.job import Job
from compressc.pipeline.sample_cache import find_or_make_inputs, identify_samples
from compressc.pipeline.shared_work import make_on_main
from compressc.plan import Plan
from compressc.program import Program
from compressc.tasks.calibration_samples import read_samples
from compressc.tasks.unlabeled import UnlabeledTask, batched_inputs, take_rows

_STAGE = "making synthetic inputs"
# Of what repair may take; the rest is for the steps behind it.
MAKING_SHARE = 0.6
# With fewer real inputs, synthetic ones repair better.
_ENOUGH_REAL = 64
_BATCH = 128


def makes_samples(artifact: Artifact) -> bool:
    """Return whether the job has no data, and wants inputs made for it."""
    return artifact.job.makes_samples


def take_samples(artifact: Artifact) -> Artifact:
    """Give the job a task of inputs that int8 is calibrated on, or else of synthetic ones.

    Raises:
        DataError: if what the network computes on such inputs is no number.
    """
    return replace(artifact, job=with_samples(artifact.job, artifact.original, artifact.clock))


def with_samples(job: Job, program: Program, clock: Clock) -> Job:
    """Return a job with a task of inputs: those for int8, or else ones made from a program.

    Args:
        job: without a task.
        program: the original.
        clock: announces what is done.

    Raises:
        DataError: as :func:`compressc.datasets.synthetic.making.make_inputs`.
        OutputError: if the inputs cannot be kept in the work directory.
    """
    whole = replace(program, plan=Plan())
    given = _task_of_int8_samples(job, whole)
    if given is not None:
        return replace(job, task=given)
    settings = SyntheticSettings()
    if job.repair.seconds is not None:
        settings = replace(settings, seconds=MAKING_SHARE * job.repair.seconds)
    seed = job.goal.seed
    work_dir = Path(job.work_dir) if job.work_dir else None
    with clock.stage(_STAGE):
        progress = clock.within(_STAGE)
        # Each process by itself would come to others wherever time ran out.
        made = make_on_main(lambda: find_or_make_inputs(whole, settings, seed, progress, work_dir))
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


def _task_of_int8_samples(job: Job, program: Program) -> UnlabeledTask | None:
    """Return a task of the real inputs that int8 is calibrated on; None for none, or too few."""
    int8 = job.settings.int8
    if int8 is None or int8.samples is None:
        return None
    path = Path(int8.samples)
    if len(read_samples(path, program)[0]) < _ENOUGH_REAL:
        return None
    return open_arrays(path, program, None, _BATCH, job.goal.seed)
