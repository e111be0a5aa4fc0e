"""Progress: a bar on a terminal, sparse plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time

import pytest
import torch
from torch import nn

import compressc
from compressc.clock import Clock, tell
from compressc.frontend.silence import quiet
from compressc.reporting.pace import Pace, readable_duration
from compressc.reporting.progress import ProgressDisplay
from compressc.tasks.loaders import LoaderTask


def pretend_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make standard error pass for a terminal; the one of the test, not of its fixtures."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


def test_plain_lines_do_not_repeat_a_counter(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        progress(0, 0, "lowering")
        for done in range(50):
            progress(done, 50, f"round {done} of 50")
        progress(0, 0, "writing")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" s  ")[1] for line in lines] == ["lowering", "round 0 of 50", "writing"]


def test_a_long_stage_reports_again_with_its_share(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressc.reporting.progress._REPEAT_SECONDS", 0.0)
    with ProgressDisplay() as progress:
        progress(0, 4, "training")
        progress(3, 4, "training")
    assert "training (75 %)" in capsys.readouterr().err


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(quiet=True) as progress:
        progress(1, 2, "lowering")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_terminal(monkeypatch)

    def fail() -> None:
        with ProgressDisplay() as progress:
            progress(1, 2, "lowering")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b[?25h" in err  # the cursor is shown again


def test_a_stage_is_its_name_whatever_its_remarks_say(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        for done, loss in enumerate(("0.5", "3e-05", "nan")):
            progress(done, 3, f"running finetune: epoch {done + 1} of 3, loss {loss}")
        progress(0, 3, "running calibrate: repairing conv1")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "epoch 1 of 3, loss 0.5" in lines[0]


class Steps:
    """A pace on a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("compressc.reporting.pace.time.perf_counter", lambda: self.now)
        self.pace = Pace()

    def after(self, seconds: float, done: int, total: int, text: str = "running finetune") -> str:
        self.now += seconds
        self.pace.enter(done, text)
        return self.pace.remark(done, total)


def test_the_time_left_follows_from_this_stage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.after(0, 0, 0, "lowering")
    assert steps.after(1000, 4, 20) == "20 %"
    said = [steps.after(10, done, 20, f"running finetune: epoch {done}") for done in range(5, 11)]
    assert said[-1] == "50 %, 1 min 40 s left"
    assert steps.after(10, 20, 20) == "100 %"
    assert steps.after(0, 3, 0) == ""


def test_no_time_is_told_from_a_first_slow_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.after(0, 0, 500)
    assert steps.after(30, 1, 500) == "0 %"
    assert all("left" not in steps.after(0.1, done, 500) for done in range(2, 8))


def test_no_time_is_told_while_steps_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.after(0, 0, 30)
    said = [steps.after(1.25**done, done, 30) for done in range(1, 28)]
    assert not any("left" in text for text in said)


def test_what_is_told_holds_when_steps_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.after(0, 0, 60)
    for done in range(1, 60):
        said = steps.after(2 + 0.2 * (done % 3), done, 60)
        if "left" in said:
            told = said.rsplit(", ", 1)[1].removesuffix(" left").split(" ")
            seconds = int(told[0]) * (60 if told[1] == "min" else 1)
            seconds += int(told[2]) if len(told) > 2 else 0
            assert seconds == pytest.approx((60 - done) * 2.2, rel=0.1, abs=2)
    assert "left" in said


def test_another_count_in_a_stage_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.after(0, 0, 10)
    for done in range(1, 11):
        steps.after(3, done, 10)
    assert steps.after(1, 1, 40) == "2 %"
    assert "left" not in steps.after(1, 2, 40)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_readable(seconds: float, said: str) -> None:
    assert readable_duration(seconds) == said


def test_a_training_pass_shows_epoch_loss_and_metric_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "120")
    text = "running finetune: epoch 2 of 9, loss 0.5, search-validation 91.2 at best"
    with ProgressDisplay() as progress:
        progress(2, 9, text)
    shown = capsys.readouterr().err
    assert text in shown
    assert "22 %" in shown


def test_a_step_that_takes_long_is_told_again(capsys, monkeypatch) -> None:
    monkeypatch.setattr("compressc.reporting.progress._REPEAT_SECONDS", 0.05)
    monkeypatch.setattr("compressc.reporting.progress._LOOK_SECONDS", 0.02)
    with ProgressDisplay() as progress:
        progress(0, 0, "capturing the model")
        with quiet():
            time.sleep(0.4)
        before = len(capsys.readouterr().err.splitlines())
    time.sleep(0.2)
    assert before >= 3
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_what_is_told_inside_a_stage_reaches_whoever_listens() -> None:
    told: list[str] = []
    clock = Clock(lambda _done, _total, text: told.append(text))
    tell("nobody listens")
    with clock.stage("capturing the model"):
        tell("tracing")
        with clock.stage("inner"):
            tell("deep")
        tell("reading the graph")
    tell("nobody listens")
    assert told == [
        "capturing the model",
        "capturing the model: tracing",
        "inner",
        "inner: deep",
        "capturing the model: reading the graph",
    ]


def test_capture_export_and_evaluation_tell_where_they_are() -> None:
    told: list[str] = []
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)).eval()
    batches = [(torch.randn(5, 3, 8, 8), torch.zeros(5)) for _ in range(3)]
    compressc.compress(
        model,
        batches[0][0],
        goal=0.5,
        passes="magnitude",
        task=LoaderTask(batches, batches, batches, _loss, _count, "none"),
        settings=compressc.Settings(measure=False),
        progress=lambda _done, _total, text: told.append(text),
    )
    for text in (
        "capturing the model: tracing",
        "exporting to ONNX: writing nodes",
        "exporting to ONNX: simplifying",
        "evaluating the original: 15 samples",
        "evaluating the result: 15 samples",
    ):
        assert text in told


def _loss(outputs: torch.Tensor, _targets: torch.Tensor) -> torch.Tensor:
    return outputs.mean()


def _count(pairs) -> float:
    return float(len(list(pairs)))
