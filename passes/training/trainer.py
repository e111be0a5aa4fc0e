"""Training of a network: the best weights on search-validation are returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from compressc.contract.context import Context
from compressc.errors import PlanError
from compressc.passes.training.engine import Course, run_epochs
from compressc.passes.training.learner import Learner
from compressc.passes.training.network_lesson import NetworkLesson
from compressc.passes.training.objectives import Objective
from compressc.passes.training.precision import Precision, choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.standing import Standing
from compressc.program import HistoryLine, Program
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.protocol import Task, require_task
from compressc.tasks.training_length import count_training_steps

MakeObjective = Callable[[Task, torch.device, Precision], Objective]


def train(
    program: Program,
    settings: TrainingSettings,
    context: Context,
    *,
    name: str,
    make_objective: MakeObjective,
    teacher: Program | None = None,
) -> Program:
    """Return the program with the weights of its best epoch.

    Args:
        program: without pending decisions; its weights come back where training loses over 5 %
            of their metric.
        settings: hyper-parameters.
        context: task, seed, progress, and where state goes.
        name: of the pass.
        make_objective: returns what to make small, given the task, the device and the precision.
        teacher: what else the result depends on.

    Raises:
        PlanError: if decisions are pending.
        DataError: if there is no task, or it has no training data.
        OutputError: if state cannot be read or written.
    """
    setup = set_up(program, settings, context, name=name, teacher=teacher)
    processes, precision = setup.processes, setup.precision
    objective = make_objective(setup.task, processes.device, precision)
    learner = Learner(program, settings, setup.steps * settings.epochs, processes, precision)
    lesson = NetworkLesson(program, setup.task, settings, processes, learner, objective)
    standing = run_epochs(replace(setup.course, ends_early=True), lesson)
    best = processes.share({key: tensor.cpu() for key, tensor in standing.kept.items()})
    notes = describe_training(standing, settings, precision, processes)
    return program.with_state(best).with_line(HistoryLine(name, notes=notes))


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that training needs besides a lesson.

    Attributes:
        task: gives the batches and judges.
        processes: that share the work.
        precision: of the forward pass.
        steps: of an epoch.
        course: how the lesson is taught; what is best on search-validation is kept.
    """

    task: Task
    processes: Processes
    precision: Precision
    steps: int
    course: Course


def set_up(
    program: Program,
    settings: TrainingSettings,
    context: Context,
    *,
    name: str,
    teacher: Program | None = None,
) -> Setup:
    """Return what training a program needs.

    Raises:
        PlanError: if decisions are pending.
        DataError: if there is no task, or it has no training data.
    """
    task = require_task(context.task, name)
    if program.plan:
        raise PlanError(
            f"{name} trains what is left, but the plan is not applied yet; give it lower(program)"
        )
    processes = Processes()
    precision = choose_precision(settings.precision, processes.device)
    steps = count_training_steps(task, context.goal.seed, name)
    conditions = (context.goal.seed, processes.count, processes.device.type, str(precision), steps)
    store = None
    if context.work_dir is not None or processes.count > 1:
        identity = identify(
            "training",
            name,
            asdict(settings),
            teacher,
            conditions,
            program=program,
            task=task,
            seed=context.goal.seed,
            kept=context.work_dir is not None,
        )
        processes.require_same(identity, "program")
        store = None if context.work_dir is None else Store(context.work_dir, identity)
    course = Course(
        name=name,
        task=task,
        seed=context.goal.seed,
        epochs=settings.epochs,
        steps=steps,
        keeps="best",
        patience=settings.patience,
        processes=processes,
        store=store,
        progress=context.progress,
    )
    return Setup(task, processes, precision, steps, course)


def describe_training(
    standing: Standing, settings: TrainingSettings, precision: Precision, processes: Processes
) -> tuple[str, ...]:
    """Return remarks on a finished run."""
    epochs = f"{standing.epoch} of {settings.epochs} epochs, the best was {standing.kept_epoch}"
    if standing.kept_epoch == 0:
        epochs = f"{standing.epoch} of {settings.epochs} epochs, none better than before them"
    moved = (
        f"search-validation {standing.first_metric:.2f} before, {standing.kept_metric:.2f} after"
    )
    shared = f" in {processes.count} processes" if processes.count > 1 else ""
    speed = f"{standing.images_per_second:.0f} images/s in {precision}{shared}"
    notes = [f"{epochs}; {moved}; {speed}"]
    if standing.remark:
        notes.append(standing.remark)
    if standing.diverged:
        advice = f"give a lower learning rate than {settings.peak_rate:g}"
        kept = f"the weights are those of epoch {standing.kept_epoch}"
        if standing.kept_epoch == 0:
            kept = "the weights are those before training"
        notes.append(f"training stopped: {standing.diverged}; {kept}; {advice}")
    elif standing.ended:
        notes.append("ended by Ctrl-C, pressed twice")
    elif standing.epoch < settings.epochs:
        notes.append(f"stopped early: no better epoch in {settings.patience}")
    return tuple(notes)
