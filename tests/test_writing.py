"""Output files: all of a file or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compressc.errors import OutputError
from compressc.writing import check_writable, write_atomically


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "new"
    assert _names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()]
)
def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["out.txt"]
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"{path}: cannot be written (No space left on device)")
        assert "\n" not in str(caught.value)


def test_a_full_disk_while_moving_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="Disk quota exceeded"):
        write_atomically(tmp_path / "out.txt", lambda temporary: temporary.write_text("x"))
    assert _names(tmp_path) == []


def test_places_that_cannot_be_written_are_refused_early(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        check_writable(tmp_path)
    with pytest.raises(OutputError, match=r"the folder .*missing does not exist"):
        check_writable(tmp_path / "missing" / "out.txt")
    check_writable(tmp_path / "out.txt")
    assert _names(tmp_path) == []


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere, so the answer of the system is made up.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path / "out.txt")


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(OutputError, match="device or pipe"):
        check_writable("/dev/null")


def test_the_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "out.txt", lambda temporary: temporary.write_text("x"))
    finally:
        os.umask(old)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640


def test_a_relative_path_is_written_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("out.txt", lambda temporary: temporary.write_text("x"))
    assert (tmp_path / "out.txt").read_text() == "x"
