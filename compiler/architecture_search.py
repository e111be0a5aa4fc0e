"""Search of architectures: from data and a space to a verified ONNX file, on one page.

The supernet of the space is a program like any other, whose plan a pass decides; what is left of it
is trained from scratch by another pass, and goes through the pipeline then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from compressc.choices.space import SpaceSize, find_space
from compressc.clock import Clock, ProgressCallback, ignore_progress
from compressc.compression import PROOF, RECIPE, Result, finish
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.errors import SpaceError
from compressc.frontend.tracing import capture
from compressc.goal import Goal
from compressc.pass_fields import build_pass
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.exporting import check_engine
from compressc.pipeline.job import Job
from compressc.pipeline.preparing import begin, couple_channels
from compressc.pipeline.recipe import follow_recipe
from compressc.pipeline.stage import Stage, run_stages
from compressc.program import Program
from compressc.settings import Settings
from compressc.target import Target
from compressc.tasks.classification import ClassificationTask

# From the supernet to the trained network; every lowering in between is proven.
SEARCH = (Stage("coupling channels", couple_channels), Stage("", follow_recipe))

# What decides, what trains from scratch, and what takes dead filters away.
_SEARCH, _TRAINING, _CLEANING = "scas", "gradual", "dead"


@dataclass(frozen=True, eq=False)
class ArchitectureJob:
    """What is asked for.

    Attributes:
        space: name of a space, registered under ``compressc.spaces``.
        task: labelled images; both the search and the final training use its splits.
        sparsity: share of zeros in every layer, in the search and at the end; 0 for none.
        size: of the supernet.
        goal: the seed, and ``trials`` that the ranking may take; bounds are not for a search.
        search: further hyper-parameters of the pass ``scas``, by name.
        training: further hyper-parameters of the pass ``gradual``, by name.
        target: where and how the result will be run.
        settings: storage, and whether and how long to measure.
        work_dir: where state goes that lets a killed run go on; None to keep none.
        name: what to call the network in the report; empty for the space's name.
    """

    space: str
    task: ClassificationTask
    sparsity: float = 0.9
    size: SpaceSize = field(default_factory=SpaceSize)
    goal: Goal = field(default_factory=Goal)
    search: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    target: Target = field(default_factory=Target)
    settings: Settings = field(default_factory=Settings)
    work_dir: str | Path | None = None
    name: str = ""


def search_architecture(
    job: ArchitectureJob, progress: ProgressCallback = ignore_progress
) -> Result:
    """Search an architecture, train it from scratch, and make its verified file.

    In the result's report "before" is the network that was found, as it was trained; "after" is
    what is left without the filters that have no weight. Zeros of the others stay sparse weights.

    Args:
        job: what is asked for.
        progress: called with (done, total, text).

    Raises:
        SpaceError: if there is no such space, or it cannot be built of that size.
        ImageSizeError: if images are too small for its reductions.
        SplitError, BudgetError, ControllerError: from the search; see the pass ``scas``.
        GoalError: if a hyper-parameter is out of range, or the goal has bounds.
        VerificationError: if a check fails.
    """
    passes = _choose_passes(job)
    check_engine(job.target, job.settings)
    clock = Clock(progress)
    with clock.stage(f"building the supernet of {job.space}"):
        supernet = build_supernet(job)
    searched = run_stages(SEARCH, begin(_as_job(job, supernet, passes), clock))
    # What passes said stands beside them in the report.
    told = tuple(replace(line, notes=()) for line in searched.program.history)
    trained = replace(searched.program, history=told)
    cleaning = _as_job(job, trained, (find_pass(_CLEANING)(),))
    cleaned = run_stages((*RECIPE, *PROOF), begin(cleaning, clock))
    return finish(_joined(searched, cleaned))


def build_supernet(job: ArchitectureJob) -> Program:
    """Return the supernet of a job as a program, with weights drawn by its seed.

    Raises:
        SpaceError, ImageSizeError: if it cannot be built.
    """
    space = find_space(job.space)
    channels, height, width = job.task.input_shape
    space.check_images(job.size, (channels, height, width))
    with torch.random.fork_rng([]):
        torch.manual_seed(job.goal.seed)
        net = space.build(job.size, (channels, height, width), len(job.task.classes))
        return capture(net.eval(), (torch.randn(2, channels, height, width),))


def _choose_passes(job: ArchitectureJob) -> tuple[Pass, ...]:
    if job.goal.bounds or job.goal.latency_ms is not None:
        raise SpaceError(
            "a search of architectures has a sparsity and no target; compress what it finds, if "
            "that is to be smaller"
        )
    searching = {"space": job.space, "sparsity": job.sparsity, **job.search}
    training = {
        "sparsity": job.sparsity,
        "from_scratch": True,
        "skip_first_last": False,
        **job.training,
    }
    return (
        build_pass(find_pass(_SEARCH), searching),
        build_pass(find_pass(_TRAINING), training),
    )


def _as_job(job: ArchitectureJob, program: Program, passes: tuple[Pass, ...]) -> Job:
    return Job(
        program,
        Goal(trials=job.goal.trials, seed=job.goal.seed),
        passes=passes,
        task=job.task,
        # Zeros leave single filters, wherever they are.
        multiple_of=1,
        target=job.target,
        settings=job.settings,
        work_dir=job.work_dir,
        name=job.name or job.space,
    )


def _joined(searched: Artifact, cleaned: Artifact) -> Artifact:
    """Return the artifact of the cleaned network with what the search did and proved before it."""
    verdict = searched.verdict
    for check in cleaned.verdict.checks:
        verdict = verdict.with_check(replace(check, name=f"{check.name}, dead filters"))
    return replace(
        cleaned,
        passes=(*searched.passes, *cleaned.passes),
        plans=(*searched.plans, *cleaned.plans),
        verdict=verdict,
    ).with_notes(*searched.notes)
