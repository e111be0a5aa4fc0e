"""Progress: a bar on a terminal, sparse plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys

import pytest

from compressc.cli.progress import ProgressDisplay


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
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")

    def fail() -> None:
        with ProgressDisplay() as progress:
            progress(1, 2, "lowering")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b[?25h" in err  # the cursor is shown again
