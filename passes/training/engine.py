"""The engine of epochs: one loop for everything that learns from batches."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from compressc.clock import ProgressCallback
from compressc.passes.training.cut_batches import cut_batch
from compressc.passes.training.lesson import Lesson
from compressc.passes.training.processes import Processes
from compressc.passes.training.randomness import seeded
from compressc.passes.training.standing import Standing
from compressc.store.records import pack_state, unpack_state
from compressc.store.store import Store
from compressc.tasks.protocol import Task
from compressc.watching import is_pressed_again

# Steps between two looks at the loss: each look waits for the device.
_LOOK_STEPS = 20


@dataclass(frozen=True, eq=False)
class Course:
    """How a lesson is taught.

    Attributes:
        name: of the pass, and of its state on disk.
        task: gives the batches.
        seed: of the batches and of everything random in an epoch.
        epochs: how many there are.
        steps: in each of them.
        most: samples of a step; larger batches of the task are cut. 0 for batches as they come.
        ends_early: whether what is kept after any epoch is a whole result, with which the user may
            end the training.
        keeps: "best": the outcome that is best on search-validation, what came in included;
            "last": that of the last epoch.
        patience: stop after so many epochs without a better one; 0 for never.
        processes: that share the work.
        store: where state goes after every epoch; None to keep none.
        progress: called with (steps done, steps in all, text).
    """

    name: str
    task: Task
    seed: int
    epochs: int
    steps: int
    keeps: Literal["best", "last"]
    patience: int
    processes: Processes
    store: Store | None
    progress: ProgressCallback
    most: int = 0
    ends_early: bool = False


def run_epochs(course: Course, lesson: Lesson) -> Standing:
    """Teach a lesson until the last epoch, or until there is a reason to stop.

    A run that was cut off goes on behind its last finished epoch, to the same result. Where the
    loss or what was learned stops being a number, training stops with what was kept before.

    Ctrl-C ends the run; pressed twice, it ends the training with the best epoch so far, where the
    course allows that and at least one is over.

    Raises:
        OutputError: if state cannot be written.
    """
    standing = _begin(course, lesson)
    patience = course.patience or math.inf
    while standing.epoch < course.epochs and standing.epoch - standing.kept_epoch < patience:
        epoch = _Epoch(course, lesson, standing)
        try:
            problem = epoch.run()
        except KeyboardInterrupt:
            if _is_ended(course, standing):
                return replace(standing, ended=True)
            raise
        if problem:
            return replace(standing, diverged=problem)
        metric = course.processes.on_main(lesson.judge)
        standing = standing.after(metric, epoch.seconds, epoch.samples)
        if course.keeps == "last" or standing.is_best:
            standing = standing.with_outcome(lesson.outcome())
        _write(course, lesson, standing)
    return standing


def _is_ended(course: Course, standing: Standing) -> bool:
    """Return whether the user, who pressed Ctrl-C, wants the best epoch so far."""
    if not course.ends_early or standing.epoch == 0 or course.processes.count > 1:
        return False
    return is_pressed_again(
        f"keeps the best of {standing.epoch} epoch(s) and finishes; otherwise the same command "
        f"goes on behind epoch {standing.epoch}"
    )


def _begin(course: Course, lesson: Lesson) -> Standing:
    """Return where training stands: at its start, or where an earlier run was cut off."""
    store, name, processes = course.store, course.name, course.processes
    remark = ""
    if store is not None:
        state = processes.on_main(lambda: unpack_state(store.load(name)))
        if state is not None:
            lesson.load(state["lesson"])
            return Standing(**state["standing"])
        if processes.on_main(lambda: store.has(name)):
            remark = f"{store.path(name)}: not a usable state of {name}, which began anew"
    metric = processes.on_main(lesson.judge) if course.keeps == "best" else math.nan
    return replace(Standing.before(metric, lesson.outcome()), remark=remark)


def _write(course: Course, lesson: Lesson, standing: Standing) -> None:
    store = course.store
    if store is None:
        return
    state = {"lesson": lesson.state(), "standing": standing.to_dict()}
    course.processes.on_main(lambda: store.save(course.name, pack_state(state)))


class _Epoch:
    """One pass over the training split.

    Attributes:
        seconds: what it took.
        samples: how many it ran over.
    """

    def __init__(self, course: Course, lesson: Lesson, standing: Standing) -> None:
        self._course, self._lesson, self._standing = course, lesson, standing
        self.seconds, self.samples = 0.0, 0

    def run(self) -> str:
        """Teach every batch; return what went wrong, if anything."""
        course, lesson, epoch = self._course, self._lesson, self._standing.epoch
        started, done = time.perf_counter(), 0
        total = torch.zeros((), device=course.processes.device)
        lesson.begin_epoch(epoch)
        with seeded(course.processes.device, course.seed, epoch, course.processes.rank):
            whole = course.task.train_batches(epoch, course.seed)
            for batch in (part for each in whole for part in cut_batch(each, course.most)):
                total += lesson.step(batch)
                self.samples += len(batch[0][0])
                done += 1
                if done % _LOOK_STEPS == 1 and (problem := self._look(total, done)):
                    return problem
        if problem := self._look(total, done):
            return problem
        if not lesson.is_finite():
            return f"weights became infinite in the last steps of epoch {epoch + 1}"
        lesson.end_epoch()
        self.seconds = time.perf_counter() - started
        return ""

    def _look(self, total: Tensor, done: int) -> str:
        """Report the mean loss so far; return what is wrong with it, if anything."""
        course, standing = self._course, self._standing
        epoch = standing.epoch
        loss = float(course.processes.mean(total)) / max(1, done)
        problem = "" if math.isfinite(loss) else f"the loss became {loss} in epoch {epoch + 1}"
        text = f"epoch {epoch + 1} of {course.epochs}, loss {loss:.4g}, "
        text += self._lesson.describe(standing)
        if problem:
            text = f"{problem}; stopping with the weights of epoch {standing.kept_epoch}"
        if course.processes.is_main:
            finished = epoch * course.steps + min(done, course.steps)
            course.progress(finished, course.epochs * course.steps, text)
        return problem
