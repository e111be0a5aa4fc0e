"""Training of agents: epochs of lessons, resumable, with or without the network."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from compressc.contract.context import Context
from compressc.passes.decore.agents import Agents
from compressc.passes.decore.gates import check_sampling
from compressc.passes.decore.lessons import FrozenLesson, JointLesson, Lesson
from compressc.passes.decore.penalty_control import PenaltyControl
from compressc.passes.decore.policies import Policies
from compressc.passes.decore.settings import DecoreSettings
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.randomness import seeded
from compressc.passes.training.settings import TrainingSettings
from compressc.plan import Plan
from compressc.program import Program
from compressc.store.identity import identify
from compressc.store.records import pack_state, unpack_state
from compressc.store.store import Store
from compressc.tasks.protocol import Task, require_task
from compressc.tasks.training_length import count_training_steps

# Steps between two looks at the loss: each look waits for the device.
_LOOK_STEPS = 20
# Fields that say what becomes of the policies, not how they are trained.
_AFTERWARDS = ("floor", "policies", "analysis")


def train_agents(
    program: Program, agents: Agents, settings: DecoreSettings, context: Context
) -> TrainedAgents:
    """Return the agents' weights, and the network's where it learned along.

    Args:
        program: stays as it is.
        agents: of the program.
        settings: how to train.
        context: task, seed, progress, and where state goes.

    Raises:
        DataError: if there is no task, no training data, or nobody knows which samples are right.
        PlanError: if images cannot have actions of their own.
        OutputError: if state cannot be read or written.
    """
    task = require_task(context.task, "decore")
    if settings.sampling == "image":
        check_sampling(agents)
    processes = Processes()
    steps = count_training_steps(task, context.goal.seed, "decore")
    identity = identify_training(program, settings, context)
    processes.require_same(identity, "program")
    precision = choose_precision(settings.precision, processes.device)
    policies = Policies(
        agents,
        settings.first_weight,
        settings.agent_rate,
        settings.sampling,
        settings.baseline,
        settings.penalty,
        processes,
    )
    parts = (task, agents, policies, processes, precision)
    total = steps * settings.epochs
    lesson: Lesson
    if settings.mode == "joint":
        lesson = JointLesson(program, _plain(settings), total, *parts)
    else:
        lesson = FrozenLesson(program, settings.channels_last, *parts)
    control = None
    if settings.adapt_penalty and context.goal.bounds:
        control = PenaltyControl(
            program, agents, context.goal, settings.first_weight, settings.penalty, total
        )
    store = None if context.work_dir is None else Store(context.work_dir, identity)
    run = _Run(settings, context, task, processes, lesson, policies, control, store, steps)
    return run.finish()


def identify_training(program: Program, settings: DecoreSettings, context: Context) -> str:
    """Return a digest of everything that decides what training results in."""
    constraints = replace(program.constraints, multiple_of=1)
    bare = replace(program, plan=Plan(), constraints=constraints)
    chosen = [
        (field.name, getattr(settings, field.name))
        for field in fields(settings)
        if field.name not in _AFTERWARDS
    ]
    aim = context.goal.bounds if settings.adapt_penalty else {}
    return identify(
        "agents",
        chosen,
        aim,
        context.goal.seed,
        Processes().count,
        program=bare,
        task=context.task,
        seed=context.goal.seed,
        kept=context.work_dir is not None,
    )


def _plain(settings: DecoreSettings) -> TrainingSettings:
    return TrainingSettings(
        **{item.name: getattr(settings, item.name) for item in fields(TrainingSettings)}
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """One training run: what it needs."""

    settings: DecoreSettings
    context: Context
    task: Task
    processes: Processes
    lesson: Lesson
    policies: Policies
    control: PenaltyControl | None
    store: Store | None
    steps: int

    def finish(self) -> TrainedAgents:
        """Train from the start, or from where an earlier run was cut off, to the last epoch."""
        epoch, metric, problem = 0, math.nan, ""
        store = self.store
        saved = None
        if store is not None:
            saved = self.processes.on_main(lambda: unpack_state(store.load("decore")))
        if saved is not None:
            self._load(saved)
            epoch, metric = int(saved["epoch"]), float(saved["metric"])
        good = copy.deepcopy(self._state())
        while epoch < self.settings.epochs:
            problem = self._learn(epoch, metric)
            if problem:
                self._load(good)
                break
            epoch, metric = epoch + 1, self._judge()
            good = copy.deepcopy(self._state())
            if store is not None:
                self._write(store, {**good, "epoch": epoch, "metric": metric})
        return self._result(epoch, metric, problem)

    def _learn(self, epoch: int, metric: float) -> str:
        """Train for one epoch; return what went wrong, if anything."""
        done, seed, device = 0, self.context.goal.seed, self.processes.device
        total = torch.zeros((), device=device)
        self.lesson.begin_epoch()
        with seeded(device, seed, epoch, self.processes.rank):
            for batch in self.task.train_batches(epoch, seed):
                total += self.lesson.step(batch)
                done += 1
                self._adapt_penalty(epoch * self.steps + done)
                if done % _LOOK_STEPS == 1 and (problem := self._look(epoch, metric, total, done)):
                    return problem
        if problem := self._look(epoch, metric, total, done):
            return problem
        if not (self.lesson.is_finite() and self.policies.is_finite()):
            return f"weights became infinite in the last steps of epoch {epoch + 1}"
        self.lesson.end_epoch()
        return ""

    def _adapt_penalty(self, step: int) -> None:
        if self.control is not None:
            weights = self.policies.weights.double().cpu().numpy()
            self.policies.penalty = self.control.adapt(self.policies.penalty, weights, step)

    def _look(self, epoch: int, metric: float, total: Tensor, done: int) -> str:
        """Report where training stands; return what is wrong with the loss, if anything."""
        loss = float(self.processes.mean(total)) / max(1, done)
        problem = "" if math.isfinite(loss) else f"the loss became {loss} in epoch {epoch + 1}"
        text = f"epoch {epoch + 1} of {self.settings.epochs}, loss {loss:.4g}, "
        text += f"{100 * self.policies.dropped:.1f} % of the channels dropped"
        if not math.isnan(metric):
            text += f", search-validation {metric:.4g} without them"
        if problem:
            text = f"{problem}; stopping with what was learned up to epoch {epoch}"
        if self.processes.is_main:
            finished = epoch * self.steps + min(done, self.steps)
            self.context.progress(finished, self.settings.epochs * self.steps, text)
        return problem

    def _judge(self) -> float:
        """Return the metric on search-validation without the channels that are dropped by now."""

        def judge() -> float:
            self.lesson.network.act(self.policies.decided)
            return float(self.task.validate(self.lesson.network.module.eval()))

        return self.processes.on_main(judge)

    def _write(self, store: Store, state: dict[str, Any]) -> None:
        self.processes.on_main(lambda: store.save("decore", pack_state(state)))

    def _state(self) -> dict[str, Any]:
        return {"lesson": self.lesson.state(), "policies": self.policies.state()}

    def _load(self, state: dict[str, Any]) -> None:
        self.lesson.load(state["lesson"])
        self.policies.load(state["policies"])

    def _result(self, epoch: int, metric: float, problem: str) -> TrainedAgents:
        learned = self.lesson.weights()
        weights = None
        if learned is not None:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in learned.items()}
        dropped = f"{100 * self.policies.dropped:.1f} % of the agents drop their channel"
        notes = [
            f"{epoch} of {self.settings.epochs} epochs ({self.settings.mode}); {dropped}, "
            f"search-validation {metric:.2f} without them"
        ]
        if self.control is not None:
            notes.append(f"the penalty ended at {self.policies.penalty:.3g}")
        if problem:
            rates = f"{self.settings.peak_rate:g}, or agent_rate than {self.settings.agent_rate:g}"
            notes.append(
                f"training stopped: {problem}; what was learned up to epoch {epoch} is used; give "
                f"a lower learning rate than {rates}"
            )
        values = self.policies.weights.double().cpu().numpy()
        return TrainedAgents(values.copy(), weights, tuple(notes))
