"""Compression: from a model and a goal to a verified, measured ONNX file, read from top to bottom.

:data:`RECIPE`, :data:`PROOF`, :data:`FILE` and :data:`FINDINGS` are the whole pipeline: each stage
takes the artifact and returns it with what it adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto
from torch import Tensor, nn

from compressc.backend.onnx_export import write_onnx
from compressc.clock import Clock, ProgressCallback, ignore_progress
from compressc.goal import Goal, read_goal
from compressc.pipeline.accuracy import is_unjudged, tell_accuracy
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.exporting import (
    align_channels,
    asks_for_int8,
    check_engine,
    check_goal,
    compare_with_torch,
    export_result,
    is_for_engine,
    may_align,
    quantize_to_int8,
    stamp_file,
    write_sparse_nodes,
)
from compressc.pipeline.integer_precision import check_int8
from compressc.pipeline.job import Job, Passes
from compressc.pipeline.judging import bounds_drop, check_accuracy, judge_on_test
from compressc.pipeline.measuring import (
    bounds_latency,
    check_latency_goal,
    is_measured,
    time_each_layer,
    time_files,
)
from compressc.pipeline.preparing import begin, bounds_file_size, couple_channels, export_original
from compressc.pipeline.recipe import check_reach, follow_recipe
from compressc.pipeline.sampling import makes_samples, take_samples
from compressc.pipeline.stage import Stage, run_stages
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.reporting.assembly import assemble_report
from compressc.reporting.progress import ProgressDisplay
from compressc.reporting.report import Report
from compressc.settings import Repair, Settings
from compressc.target import Target
from compressc.tasks.protocol import Scored
from compressc.watching import is_watched

# From the captured model to a small one, each lowering proven. Several processes that train
# together all come so far; only the first goes on.
RECIPE = (
    Stage("coupling channels", couple_channels),
    Stage("", take_samples, makes_samples),
    Stage("exporting the original", export_original, bounds_file_size),
    Stage("checking that the goal is within reach", check_reach, makes_samples),
    Stage("", take_samples, makes_samples),
    Stage("", follow_recipe),
)
# Whether the small one is still good enough.
PROOF = (Stage("", check_accuracy, bounds_drop),)
# From the small one to its file: also for new weights, or for another storage.
FILE = (
    Stage("exporting the original", export_original, is_measured),
    Stage("exporting to ONNX", export_result),
    Stage("aligning channels", align_channels, may_align),
    Stage("writing sparse nodes", write_sparse_nodes, is_for_engine),
    Stage("comparing with ONNX Runtime", compare_with_torch),
    Stage("", quantize_to_int8, asks_for_int8),
    Stage("counting costs", check_goal),
    # Behind everything that decides, so that nothing is chosen by the test split.
    Stage("", judge_on_test, is_unjudged),
    Stage("", tell_accuracy, is_unjudged),
    Stage("stamping", stamp_file),
)
# What people want to know of the file that will be written.
FINDINGS = (
    Stage("measuring", time_files, is_measured),
    Stage("timing each layer", time_each_layer, is_measured),
    Stage("checking the latency", check_latency_goal, bounds_latency),
)


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed model that passed every check.

    Attributes:
        report: what was done, what was gained, what was proven.
    """

    report: Report
    _artifact: Artifact
    # As it was before its file was made.
    _decided: Artifact

    def __repr__(self) -> str:
        return f"Result({self.report!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the table of the report."""
        return self.report._repr_html_()

    @property
    def original(self) -> Program:
        """The program before."""
        return self._artifact.original

    @property
    def program(self) -> Program:
        """The program after; ``program.module()`` is a trainable nn.Module."""
        return self._artifact.program

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans that were applied, in order; passes that train lie between them."""
        return self._artifact.plans

    @property
    def onnx(self) -> ModelProto:
        """The verified ONNX model, with the verdict in its ``metadata_props``."""
        return self._artifact.file

    def export(self, path: str | Path, *, storage: str | None = None) -> Path:
        """Write the ONNX file.

        Args:
            path: the file; replaced only when everything succeeded.
            storage: "dense" or "compact"; None for what was verified already. Another storage is
                exported and verified first.

        Raises:
            VerificationError: if the file for another storage fails a check.
            OutputError: if the file cannot be written.
        """
        model, job = self.onnx, self._artifact.job
        if storage is not None and storage != job.settings.storage:
            # Accuracy and latency are known: another storage is the same model.
            settings = replace(job.settings, storage=storage, measure=False)
            again = replace(
                self._decided,
                job=replace(job, settings=settings),
                accuracy=self._artifact.accuracy,
            )
            model = run_stages(FILE, again).file
        write_onnx(model, path)
        return Path(path)

    def with_state(
        self,
        state: Mapping[str, Tensor],
        *,
        settings: Settings | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> Result:
        """Return this result with new weights (after fine-tuning), exported and checked anew.

        Args:
            state: ``module.state_dict()`` of a trained ``result.program.module()``.
            settings: how to export and measure; None for the same as before.
            progress: called with (done, total, text).

        Raises:
            VerificationError: if the new ONNX model fails a check.
        """
        decided = self._decided
        clock = Clock(progress)
        clock.seconds.update(decided.clock.seconds)
        decided = replace(
            decided,
            job=replace(decided.job, settings=settings or decided.job.settings),
            clock=clock,
            program=self.program.with_state(state),
            verdict=decided.verdict.dated("before the weights were trained on"),
        )
        return finish(run_stages(PROOF, decided))


def compress(
    model: nn.Module | Program,
    example_inputs: tuple[Any, ...] | Tensor | None = None,
    *,
    goal: Goal | float | str,
    passes: Passes | None = None,
    task: Scored | None = None,
    constraints: Constraints | None = None,
    multiple_of: int | None = None,
    target: Target | None = None,
    settings: Settings | None = None,
    progress: ProgressCallback | None = None,
    work_dir: str | Path | None = None,
    name: str = "",
    repair: Repair | bool = True,
) -> Result:
    """Compress a model: decide, lower, prove, export, verify, measure.

    The same as :func:`run_job` of a :class:`compressc.Job`, which explains each argument at length.

    Args:
        model: a module, or a captured Program.
        example_inputs: one positional argument each, batch of 2 or more; for a module only.
        goal: bounds, budget and seed; a number such as 0.5 stands for that ratio of the MACs.
        passes: names of passes, or passes, or a single one; None for the default recipe.
        task: data and metric; None where no pass needs data.
        constraints: layers that must stay, and so on; None for those of the program.
        multiple_of: channel counts stay multiples of this; None for what the target likes.
        target: where and how the result will be run; None for one thread of this machine.
        settings: storage, precision, measuring; None for a dense float32 file that is measured.
        progress: called with (done, total, text); None for a bar on a terminal or in a notebook.
        work_dir: where passes keep state that lets them resume; None to keep none.
        name: what to call the model in the report; empty for its class.
        repair: what stands in for data where there is no task; False for the bare cut, by the
            size of weights alone.

    Raises:
        CompresscError: as :func:`run_job`.
    """
    job = Job(
        model,
        read_goal(goal),
        example_inputs,
        passes,
        task,
        constraints,
        multiple_of,
        target or Target(),
        settings or Settings(),
        work_dir,
        name,
        repair if isinstance(repair, Repair) else Repair("auto" if repair else "never"),
    )
    return run_job(job, progress)


def run_job(job: Job, progress: ProgressCallback | None = None) -> Result:
    """Do what a job asks for.

    Args:
        job: what is asked for.
        progress: called with (done, total, text); None for a bar on a terminal or in a notebook.

    Raises:
        HandOverError, CaptureError: if the model cannot be used.
        GoalError: if the goal cannot be reached; the message says how far it can go. Also if more
            is lost than ``goal.max_drop`` allows.
        DataError: if the goal bounds the drop, or a pass needs data, and there is no task.
        VerificationError: if a check fails.
    """
    if progress is None:
        with ProgressDisplay(quiet=not is_watched()) as display:
            return run_job(job, display)
    known = job.model if isinstance(job.model, Program) else None
    check_engine(job.target, job.settings)
    check_int8(job.settings, job.goal, job.task, known, job.target)
    decided = run_stages((*RECIPE, *PROOF), begin(job, Clock(progress)))
    return finish(decided)


def take_part(job: Job, progress: ProgressCallback = ignore_progress) -> None:
    """Train along with the first of several processes, which alone proves, measures and writes.

    Raises:
        CompresscError: as :func:`run_job`.
    """
    run_stages(RECIPE, begin(job, Clock(progress)))


def finish(decided: Artifact) -> Result:
    """Make the file of a small program, and the report of all that led to it."""
    artifact = run_stages((*FILE, *FINDINGS), decided)
    return Result(assemble_report(artifact), artifact, decided)
