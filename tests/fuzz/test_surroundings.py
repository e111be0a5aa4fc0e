"""Surroundings that are not as usual: closed streams, no home, no place for temporary files."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compressc.cli.main import main
from tests.fuzz.right_files import write_onnx
from tests.fuzz.sandbox import Outcome, Work, command, judge, run_in_child

COMPRESS = (
    *("compress", "model.pt2", "--target-params", "0.7", "--no-repair", "--no-measure"),
    *("-o", "out.onnx"),
)


def run(folder: Path, work: Work) -> Outcome:
    write_onnx(folder)
    return run_in_child(work, folder)


def compress_with(change: Callable[[], object]) -> Work:
    def work() -> int:
        change()
        return main(list(COMPRESS))

    return work


def close(*numbers: int) -> None:
    """Close streams as `>&-` does, before Python starts."""
    for number in numbers:
        os.close(number)
        setattr(sys, {1: "stdout", 2: "stderr"}[number], None)


@pytest.mark.parametrize("numbers", [(1,), (2,), (1, 2)])
def test_closed_streams_change_nothing(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    outcome = run(tmp_path, compress_with(lambda: close(*numbers)))
    assert outcome.code == 0
    import onnx

    # Nothing that was meant for a stream went into the file.
    onnx.checker.check_model(str(tmp_path / "out.onnx"))
    assert (outcome.out == "") == (1 in numbers)


def test_a_stream_of_few_characters_gets_escapes(tmp_path: Path) -> None:
    def work() -> int:
        sys.stdout = open(1, "w", encoding="ascii", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="ascii", closefd=False)  # noqa: SIM115
        return main(["inspect", "größe.pt"])

    outcome = run(tmp_path, work)
    assert outcome.code == 10
    assert "gr\\xf6\\xdfe.pt" in outcome.err


def test_a_name_that_steers_terminals_is_shown_without_its_codes(tmp_path: Path) -> None:
    name = "\x1b[31mred\x07.pt"
    outcome = run(tmp_path, command("inspect", name))
    assert judge(outcome, tmp_path) == ""
    assert "red" in outcome.err


def test_a_full_stdout_is_told_once(tmp_path: Path) -> None:
    def work() -> int:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        return main(["inspect", "model.pt2"])

    outcome = run(tmp_path, work)
    assert outcome.code == 74
    assert outcome.err.splitlines()[-1] == (
        "compressc: error: No space left on device; nothing half-written"
    )


@pytest.mark.slow
def test_without_a_home_tables_are_measured_and_not_kept(tmp_path: Path) -> None:
    def forget_home() -> None:
        def nowhere() -> Path:
            raise RuntimeError("Could not determine home directory.")

        os.environ.pop("XDG_CACHE_HOME", None)
        Path.home = staticmethod(nowhere)  # type: ignore[method-assign, assignment]

    def work() -> int:
        forget_home()
        return main(["profile", "model.onnx", "--cost-table", "table.json"])

    outcome = run(tmp_path, work)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "table.json").is_file()


@pytest.mark.slow
def test_without_a_place_for_temporary_files_the_line_says_which(tmp_path: Path) -> None:
    def lose_temporary() -> None:
        tempfile.tempdir = str(tmp_path / "nowhere")

    def work() -> int:
        lose_temporary()
        return main([text for text in COMPRESS if text != "--no-measure"])

    outcome = run(tmp_path, work)
    assert outcome.code in (0, 74)
    if outcome.code:
        assert "nowhere" in outcome.err
        assert not (tmp_path / "out.onnx").exists()


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path: Path) -> None:
    def turn_back() -> None:
        real, calls = time.time, iter(range(10**9))
        time.time = lambda: real() - 3600 * next(calls)

    assert run(tmp_path, compress_with(turn_back)).code == 0
    first = (tmp_path / "out.onnx").read_bytes()
    assert run(tmp_path, command(*COMPRESS)).code == 0
    assert (tmp_path / "out.onnx").read_bytes() == first


def test_a_place_that_takes_no_files_is_refused_before_any_work(tmp_path: Path) -> None:
    texts = [*COMPRESS[:-1], "/proc/out.onnx"]
    outcome = run(tmp_path, command(*texts))
    assert outcome.code == 7
    assert "/proc/out.onnx" in outcome.err
    assert outcome.out == ""
