"""The engine of epochs, taught by toy lessons: whoever learns, it resumes, judges and stops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

from compressc.passes.training import engine
from compressc.passes.training.engine import Course, run_epochs
from compressc.passes.training.processes import Processes
from compressc.passes.training.standing import Standing
from compressc.store.store import Store
from compressc.tasks.loaders import LoaderTask
from compressc.tasks.protocol import Batch


class Alternating:
    """Learns a product of two vectors: the first one in even epochs, the second one in odd ones."""

    def __init__(self, task: LoaderTask) -> None:
        self.task = task
        self.parts = {name: torch.full((3,), 0.5, requires_grad=True) for name in "ab"}
        self.optimizers = {name: Adam([part], lr=0.05) for name, part in self.parts.items()}
        self.learning = ""
        self.seen: list[str] = []

    def begin_epoch(self, epoch: int) -> None:
        self.learning = "ab"[epoch % 2]
        self.seen.append(self.learning)

    def step(self, batch: Batch) -> Tensor:
        (x,), y = batch
        noise = 0.01 * torch.randn(len(x))  # from the engine's seed
        factors = self.parts["a"] * self.parts["b"]
        loss = self.task.loss(x @ factors + noise, y)
        optimizer = self.optimizers[self.learning]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def end_epoch(self) -> None:
        pass

    def is_finite(self) -> bool:
        return all(bool(torch.isfinite(part).all()) for part in self.parts.values())

    def judge(self) -> float:
        return -float((self.parts["a"] * self.parts["b"] - WEIGHTS).detach().abs().sum())

    def outcome(self) -> Mapping[str, Any]:
        return {name: part.detach() for name, part in self.parts.items()}

    def state(self) -> dict[str, Any]:
        return {
            "parts": {name: part.detach() for name, part in self.parts.items()},
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, part in self.parts.items():
                part.copy_(state["parts"][name])
                self.optimizers[name].load_state_dict(state["optimizers"][name])

    def describe(self, standing: Standing) -> str:
        return f"{self.learning} learns, {standing.metric:.3g}"


WEIGHTS = torch.tensor([1.0, -0.5, 2.0])


def make_task() -> LoaderTask:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    batches = list(zip(x.split(8), (x @ WEIGHTS).split(8), strict=True))
    return LoaderTask(batches, [], [], nn.functional.mse_loss, lambda _: 0.0, "none")


def course(folder: Path | None = None, **fields: Any) -> Course:
    given: dict[str, Any] = {
        "name": "toy",
        "task": make_task(),
        "seed": 0,
        "epochs": 6,
        "steps": 8,
        "keeps": "last",
        "patience": 0,
        "processes": Processes(),
        "store": None if folder is None else Store(folder, "a" * 64),
        "progress": lambda *_: None,
    }
    return Course(**{**given, **fields})


def assert_same(one: Standing, other: Standing) -> None:
    assert (one.epoch, one.kept_epoch, one.metric) == (other.epoch, other.kept_epoch, other.metric)
    for name, tensor in one.kept.items():
        assert torch.equal(tensor, other.kept[name])


def test_who_learns_alternates() -> None:
    lesson = Alternating(make_task())
    after_first = run_epochs(course(epochs=1), lesson)
    assert torch.equal(after_first.kept["b"], torch.full((3,), 0.5))
    assert not torch.equal(after_first.kept["a"], torch.full((3,), 0.5))
    lesson = Alternating(make_task())
    after_second = run_epochs(course(epochs=2), lesson)
    assert torch.equal(after_second.kept["a"], after_first.kept["a"])
    assert not torch.equal(after_second.kept["b"], after_first.kept["b"])
    lesson = Alternating(make_task())
    standing = run_epochs(course(epochs=40), lesson)
    assert "".join(lesson.seen) == "ab" * 20
    assert standing.metric > -0.1


class CutOffError(Exception):
    """What the test stops training with."""


@pytest.mark.parametrize("moment", [1, 9, 20, 40])
def test_an_alternating_lesson_that_was_cut_off_goes_on(tmp_path: Path, moment: int) -> None:
    whole = run_epochs(course(), Alternating(make_task()))

    def stop(done: int, _total: int, _text: str) -> None:
        if done > moment:
            raise CutOffError

    with pytest.raises(CutOffError):
        run_epochs(course(tmp_path, progress=stop), Alternating(make_task()))
    resumed = Alternating(make_task())
    assert_same(run_epochs(course(tmp_path), resumed), whole)
    assert "".join(resumed.seen) == ("ab" * 3)[moment // 8 :]
    assert_same(run_epochs(course(tmp_path), Alternating(make_task())), whole)


def test_state_that_is_damaged_is_said(tmp_path: Path) -> None:
    run_epochs(course(tmp_path, epochs=2), Alternating(make_task()))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    standing = run_epochs(course(tmp_path, epochs=2), Alternating(make_task()))
    assert standing.remark == f"{file}: not a usable state of toy, which began anew"
    assert_same(standing, run_epochs(course(epochs=2), Alternating(make_task())))


class Worsening(Alternating):
    """Its metric rises twice and falls from then on."""

    def judge(self) -> float:
        return -abs(len(self.seen) - 2.0)


def test_the_best_or_the_last_is_kept() -> None:
    best = run_epochs(course(keeps="best"), Worsening(make_task()))
    assert (best.epoch, best.kept_epoch, best.kept_metric, best.metric) == (6, 2, 0.0, -4.0)
    assert best.first_metric == -2.0
    assert_kept = run_epochs(course(epochs=2), Alternating(make_task())).kept
    assert torch.equal(best.kept["a"], assert_kept["a"])
    last = run_epochs(course(), Worsening(make_task()))
    assert (last.epoch, last.kept_epoch, last.kept_metric) == (6, 6, -4.0)
    assert math.isnan(last.first_metric)
    patient = run_epochs(course(keeps="best", patience=2), Worsening(make_task()))
    assert (patient.epoch, patient.kept_epoch) == (4, 2)


class Breaking(Alternating):
    """Becomes infinite in the fourth epoch: in its loss, or in its last step alone."""

    in_loss = True

    def step(self, batch: Batch) -> Tensor:
        loss = super().step(batch)
        if len(self.seen) == 4:
            with torch.no_grad():
                self.parts["a"].fill_(math.inf)
            return loss * math.nan if self.in_loss else loss
        return loss


class BreakingQuietly(Breaking):
    in_loss = False

    def step(self, batch: Batch) -> Tensor:
        return super().step(batch).nan_to_num(posinf=1.0).clamp(max=1.0)


@pytest.mark.parametrize(
    ("lesson", "said"), [(Breaking, "the loss became nan"), (BreakingQuietly, "weights became")]
)
def test_what_was_learned_before_comes_back(lesson: type[Alternating], said: str) -> None:
    standing = run_epochs(course(), lesson(make_task()))
    assert said in standing.diverged
    assert (standing.epoch, standing.kept_epoch) == (3, 3)
    assert_same(standing, run_epochs(course(epochs=3), Alternating(make_task())))


def test_progress_tells_what_the_lesson_describes() -> None:
    seen: list[tuple[int, int, str]] = []
    run_epochs(
        course(epochs=2, progress=lambda *words: seen.append(words)), Alternating(make_task())
    )
    assert (seen[0][0], seen[-1][0], seen[0][1]) == (1, 16, 16)
    assert "epoch 1 of 2, loss " in seen[0][2]
    assert "a learns" in seen[0][2]
    assert "b learns" in seen[-1][2]


def press_in_epoch(number: int, monkeypatch: pytest.MonkeyPatch, *, again: bool) -> Any:
    """Return a progress that presses Ctrl-C in an epoch, and once more if ``again``."""
    monkeypatch.setattr(engine, "is_pressed_again", lambda _: again)

    def press(_done: int, _total: int, text: str) -> None:
        if f"epoch {number} of" in text:
            raise KeyboardInterrupt

    return press


def test_a_second_key_keeps_the_best_epoch_and_finishes(monkeypatch) -> None:
    press = press_in_epoch(4, monkeypatch, again=True)
    standing = run_epochs(course(progress=press, ends_early=True), Alternating(make_task()))
    assert standing.ended
    assert_same(standing, run_epochs(course(epochs=3), Alternating(make_task())))


@pytest.mark.parametrize(
    ("number", "again", "allowed"), [(4, False, True), (4, True, False), (1, True, True)]
)
def test_ctrl_c_ends_the_run_without_a_second_key_or_an_epoch(
    tmp_path: Path, monkeypatch, number: int, again: bool, allowed: bool
) -> None:
    press = press_in_epoch(number, monkeypatch, again=again)
    with pytest.raises(KeyboardInterrupt):
        run_epochs(course(tmp_path, progress=press, ends_early=allowed), Alternating(make_task()))
    whole = run_epochs(course(), Alternating(make_task()))
    assert_same(run_epochs(course(tmp_path), Alternating(make_task())), whole)
