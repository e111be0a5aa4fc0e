"""Progress: a bar on a terminal, sparse plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys

import pytest

from compressc.cli.pace import Pace, readable_duration
from compressc.cli.progress import ProgressDisplay


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
    monkeypatch.setattr("compressc.cli.progress._REPEAT_SECONDS", 0.0)
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


def test_the_time_left_follows_from_this_stage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("compressc.cli.pace.time.perf_counter", lambda: clock[0])
    pace = Pace()
    assert pace.enter(0, "lowering")
    clock[0] += 1000
    assert pace.enter(4, "running finetune: epoch 5 of 10")
    assert pace.remark(4, 10) == "40 %"
    clock[0] += 20
    assert not pace.enter(6, "running finetune: epoch 7 of 10")
    assert pace.remark(6, 10) == "60 %, 40 s left"
    assert pace.remark(10, 10) == "100 %"
    assert pace.remark(3, 0) == ""


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
