"""Files of one run appear together or not at all; two runs do not mix one output."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compressc.errors import OutputError
from compressc.exclusive import exclusive
from compressc.writing import write_text, written_together


def write_all(folder: Path, names: str, fault: BaseException | None = None) -> None:
    for name in names:
        write_text(folder / name, f"new {name}")
    if fault is not None:
        raise fault


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_nothing_is_there_before_the_end(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with written_together():
        write_text(tmp_path / "a", "new a")
        write_text(tmp_path / "b", "new b")
        assert not (tmp_path / "a").exists()
        assert (tmp_path / "b").read_text() == "old"
    assert contents(tmp_path) == {"a": "new a", "b": "new b"}


def test_an_inner_context_waits_for_the_outer_one(tmp_path: Path) -> None:
    with written_together():
        with written_together():
            write_text(tmp_path / "a", "new a")
        assert not (tmp_path / "a").exists()
    assert contents(tmp_path) == {"a": "new a"}


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OutputError("full"), ValueError("bug")])
def test_an_error_behind_the_first_file_leaves_everything_as_it_was(
    tmp_path: Path, fault: BaseException
) -> None:
    (tmp_path / "b").write_text("old")
    with pytest.raises(type(fault)), written_together():
        write_all(tmp_path, "ab", fault)
    assert contents(tmp_path) == {"b": "old"}


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("links", [True, False])
def test_a_move_that_fails_puts_the_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, links: bool
) -> None:
    (tmp_path / "b").write_text("old b")
    (tmp_path / "c").write_text("old c")
    replace, calls = os.replace, []

    def replace_or_fail(source: str, target: str) -> None:
        if not str(source).endswith(".old"):
            calls.append(target)
            if len(calls) == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "replace", replace_or_fail)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OutputError, match="No space left on device"), written_together():
        write_all(tmp_path, "abc")
    assert contents(tmp_path) == {"b": "old b", "c": "old c"}


def test_a_second_run_is_refused_while_the_first_one_works(tmp_path: Path) -> None:
    folder, output = tmp_path / "out.onnx.state", tmp_path / "out.onnx"
    with exclusive(folder, output):
        with pytest.raises(OutputError, match=r"out.onnx: another compressc is writing it"):
            exclusive(folder, output).__enter__()
        assert folder.is_dir()
    assert not folder.exists()
    with exclusive(folder, output):
        (folder / "kept").write_text("state")
    assert (folder / "kept").read_text() == "state"
