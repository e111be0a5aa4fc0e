"""The trainer: epochs until the end, judged on search-validation, the best weights returned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from compressc.contract.context import Context
from compressc.errors import PlanError
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import Objective
from compressc.passes.training.placement import place_program
from compressc.passes.training.precision import Precision, choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.randomness import seeded
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.standing import Standing
from compressc.program import HistoryLine, Program
from compressc.store.identity import identify
from compressc.store.records import pack_state, unpack_state
from compressc.store.store import Store
from compressc.tasks.protocol import Task, require_task
from compressc.tasks.training_length import count_training_steps

# Steps between two looks at the loss: each look waits for the device.
_LOOK_STEPS = 20
_VALIDATION = "search-validation"

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
    task = require_task(context.task, name)
    if program.plan:
        raise PlanError(
            f"{name} trains what is left, but the plan is not applied yet; give it lower(program)"
        )
    processes = Processes()
    precision = choose_precision(settings.precision, processes.device)
    steps = count_training_steps(task, context.goal.seed, name)
    identity = identify(
        "training",
        name,
        asdict(settings),
        teacher,
        (context.goal.seed, processes.count, processes.device.type, str(precision), steps),
        program=program,
        task=task,
        seed=context.goal.seed,
        kept=context.work_dir is not None,
    )
    processes.require_same(identity, "program")
    run = _Run(
        program,
        settings,
        context,
        task,
        processes,
        make_objective(task, processes.device, precision),
        Learner(program, settings, steps * settings.epochs, processes, precision),
        name,
        None if context.work_dir is None else Store(context.work_dir, identity),
        steps,
    )
    standing = run.finish(run.begin())
    best = processes.share({key: tensor.cpu() for key, tensor in standing.best.items()})
    notes = _describe(standing, settings, precision, processes)
    return program.with_state(best).with_line(HistoryLine(name, notes=notes))


@dataclass(frozen=True, eq=False)
class _Run:
    """One training run: what it needs, and no state but the learner's."""

    program: Program
    settings: TrainingSettings
    context: Context
    task: Task
    processes: Processes
    objective: Objective
    learner: Learner
    name: str
    store: Store | None
    steps: int

    def begin(self) -> Standing:
        """Return where training stands: at its start, or where an earlier run was cut off."""
        store = self.store
        state = None
        if store is not None:
            state = self.processes.on_main(lambda: unpack_state(store.load(self.name)))
        if state is None:
            return Standing.before(self._judge(), self.learner.weights())
        self.learner.load(state["learner"])
        return Standing(**state["standing"])

    def finish(self, standing: Standing) -> Standing:
        """Train until the last epoch, or until there is a reason to stop."""
        patience = self.settings.patience or math.inf
        while standing.epoch < self.settings.epochs:
            if standing.epoch - standing.best_epoch >= patience:
                break
            seconds, samples, problem = self._learn(standing)
            if problem:
                return replace(standing, diverged=problem)
            standing = standing.after(self._judge(), self.learner.weights(), seconds, samples)
            self._write(standing)
        return standing

    def _learn(self, standing: Standing) -> tuple[float, int, str]:
        """Train for one epoch; return seconds, samples, and what went wrong, if anything."""
        epoch, seed = standing.epoch, self.context.goal.seed
        started, samples, done = time.perf_counter(), 0, 0
        total = torch.zeros((), device=self.processes.device)
        self.learner.begin_epoch()
        with seeded(self.processes.device, seed, epoch, self.processes.rank):
            for batch in self.task.train_batches(epoch, seed):
                total += self.learner.step(batch, self.objective)
                samples += len(batch[0][0])
                done += 1
                if done % _LOOK_STEPS == 1 and (problem := self._look(standing, total, done)):
                    return 0.0, 0, problem
        if problem := self._look(standing, total, done):
            return 0.0, 0, problem
        if not self.learner.is_finite():
            return 0.0, 0, f"weights became infinite in the last steps of epoch {epoch + 1}"
        self.learner.end_epoch()
        return time.perf_counter() - started, samples, ""

    def _look(self, standing: Standing, total: Tensor, done: int) -> str:
        """Report the mean loss so far; return what is wrong with it, if anything."""
        epochs, epoch = self.settings.epochs, standing.epoch
        loss = float(self.processes.mean(total)) / max(1, done)
        problem = "" if math.isfinite(loss) else f"the loss became {loss} in epoch {epoch + 1}"
        text = f"epoch {epoch + 1} of {epochs}, loss {loss:.4g}, {_VALIDATION} "
        text += f"{standing.best_metric:.4g} at best"
        if problem:
            text = f"{problem}; stopping with the weights of epoch {standing.best_epoch}"
        if self.processes.is_main:
            finished = epoch * self.steps + min(done, self.steps)
            self.context.progress(finished, epochs * self.steps, text)
        return problem

    def _judge(self) -> float:
        """Return the metric on search-validation, in float32, as the result will be used."""
        weights, task, processes = self.learner.weights(), self.task, self.processes

        def judge() -> float:
            module = place_program(self.program, processes.device, self.settings.channels_last)
            module.load_state_dict(weights)
            return float(task.validate(module.eval()))

        return processes.on_main(judge)

    def _write(self, standing: Standing) -> None:
        store = self.store
        if store is None:
            return
        state = {"learner": self.learner.state(), "standing": standing.to_dict()}
        self.processes.on_main(lambda: store.save(self.name, pack_state(state)))


def _describe(
    standing: Standing, settings: TrainingSettings, precision: Precision, processes: Processes
) -> tuple[str, ...]:
    """Return remarks on a finished run."""
    epochs = f"{standing.epoch} of {settings.epochs} epochs, the best was {standing.best_epoch}"
    if standing.best_epoch == 0:
        epochs = f"{standing.epoch} of {settings.epochs} epochs, none better than before them"
    moved = f"{_VALIDATION} {standing.first_metric:.2f} before, {standing.best_metric:.2f} after"
    shared = f" in {processes.count} processes" if processes.count > 1 else ""
    speed = f"{standing.images_per_second:.0f} images/s in {precision}{shared}"
    notes = [f"{epochs}; {moved}; {speed}"]
    if standing.diverged:
        advice = f"give a lower learning rate than {settings.peak_rate:g}"
        kept = f"the weights are those of epoch {standing.best_epoch}"
        if standing.best_epoch == 0:
            kept = "the weights are those before training"
        notes.append(f"training stopped: {standing.diverged}; {kept}; {advice}")
    elif standing.epoch < settings.epochs:
        notes.append(f"stopped early: no better epoch in {settings.patience}")
    return tuple(notes)
