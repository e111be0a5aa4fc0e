"""Training of switchers and network, from a program to weights and factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from math import ceil

from torch import Tensor

from compressc.contract.context import Context
from compressc.passes.snn.aims import Aim, aim_at
from compressc.passes.snn.settings import SnnSettings
from compressc.passes.snn.switch_lesson import SwitchLesson
from compressc.passes.snn.switched_layers import SwitchedLayer
from compressc.passes.snn.switchers import Switchers
from compressc.passes.training.cut_batches import count_parts
from compressc.passes.training.descent import Descent
from compressc.passes.training.engine import Course, run_epochs
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.randomness import seeded
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.standing import Standing
from compressc.plan import Plan
from compressc.program import Program
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.protocol import Task, require_task
from compressc.tasks.training_length import count_training_steps

_NAME = "snn"


@dataclass(frozen=True, eq=False)
class Switched:
    """What training gave.

    Attributes:
        network: the task network's weights by name.
        factors: of each layer, as its switcher gave them, in the order of the layers.
        masks: what each aim left of them; where training ended before the whole way to the aims
            was gone, what they would leave.
        levels: of each layer, how factors were distributed after each epoch.
        notes: how training went.
    """

    network: dict[str, Tensor]
    factors: list[Tensor]
    masks: list[list[Tensor]]
    levels: list[list[list[float]]]
    notes: tuple[str, ...] = field(default=())


def train_switchers(
    program: Program,
    layers: Sequence[SwitchedLayer],
    aims: Sequence[Aim],
    settings: SnnSettings,
    context: Context,
) -> Switched:
    """Let switchers and network learn in turn.

    Args:
        program: without decisions other than zeros that its weights have; stays as it is.
        layers: what is switched.
        aims: which factors are switched off besides; they must follow from program, settings and
            goal.
        settings: how to train.
        context: task, goal, progress, and where state goes.

    Raises:
        DataError: if there is no task, or no training data.
        PlanError: if a matrix is too large for the memory.
        OutputError: if state cannot be read or written.
    """
    task = require_task(context.task, _NAME)
    seed = context.goal.seed
    processes = Processes()
    precision = choose_precision(settings.precision, processes.device)
    steps = _count_steps(task, seed, settings.batch)
    bare = replace(program, plan=Plan())
    identity = identify(
        "switchers",
        settings,
        context.goal.bounds,
        seed,
        processes.count,
        str(precision),
        program=bare,
        task=task,
        seed=seed,
        kept=context.work_dir is not None,
    )
    processes.require_same(identity, "program")
    plain = _plain(settings)
    learner = Learner(program, plain, max(1, steps * (settings.epochs // 2)), processes, precision)
    with seeded(processes.device, seed):
        switchers = Switchers(layers, settings).to(processes.device)
    switcher_steps = ceil(steps / settings.switch_every) * ceil(settings.epochs / 2)
    lesson = SwitchLesson(
        task,
        TaskLoss(task),
        processes,
        learner,
        switchers,
        Descent(switchers, plain, switcher_steps),
        aims,
        settings.threshold,
        settings.switch_every,
        settings.epochs,
    )
    course = Course(
        name=_NAME,
        task=task,
        seed=seed,
        epochs=settings.epochs,
        steps=steps,
        keeps="last",
        patience=0,
        processes=processes,
        store=None if context.work_dir is None else Store(context.work_dir, identity),
        progress=context.progress,
        most=settings.batch,
    )
    standing = run_epochs(course, lesson)
    network = {name: tensor.cpu() for name, tensor in standing.kept["network"].items()}
    factors = [each.cpu() for each in standing.kept["factors"]]
    masks = [[each.cpu() for each in masks] for masks in standing.kept["masks"]]
    if standing.kept["share"] < 1:
        masks = aim_at(aims, layers, network, factors, settings.threshold)
    epochs = standing.kept["histograms"]
    levels = [[epoch[index] for epoch in epochs] for index in range(len(layers))]
    return Switched(network, factors, masks, levels, _describe(standing, settings))


def _count_steps(task: Task, seed: int, most: int) -> int:
    """Return how many steps an epoch has, as far as its first batch tells."""
    inputs, _ = next(iter(task.train_batches(0, seed)), ((), None))
    parts = count_parts(len(inputs[0]), most) if inputs else 1
    return parts * count_training_steps(task, seed, _NAME)


def _plain(settings: SnnSettings) -> TrainingSettings:
    return TrainingSettings(
        **{item.name: getattr(settings, item.name) for item in fields(TrainingSettings)}
    )


def _describe(standing: Standing, settings: SnnSettings) -> tuple[str, ...]:
    """Return remarks on a finished training."""
    start = "fresh weights" if settings.from_scratch else "the trained weights"
    notes = [
        f"{standing.epoch} of {settings.epochs} epochs in turn, {settings.mode} mode, from {start}"
        f"; search-validation {standing.metric:.2f}, {standing.images_per_second:.0f} images/s"
    ]
    if standing.remark:
        notes.append(standing.remark)
    if standing.diverged:
        kept = f"what was learned up to epoch {standing.kept_epoch} is used"
        if standing.kept_epoch == 0:
            kept = "nothing was learned"
        rate = f"give a lower learning rate than {settings.peak_rate:g}"
        notes.append(f"training stopped: {standing.diverged}; {kept}; {rate}")
    return tuple(notes)
