"""Every failure is one line on stderr, a nonzero exit code, and no file."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from compressc import compression
from compressc.cli.main import main
from compressc.errors import CompresscError, VerificationError
from tests.cli.conftest import TINY, Cli


def expect_one_line(outcome: tuple[int, str, str], code: int, *said: str) -> None:
    found, out, err = outcome
    assert found == code, err
    assert out == ""
    last = err.rstrip("\n").splitlines()[-1]
    assert last.startswith("compressc: error: ")
    for text in said:
        assert text in last
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("0", "above 0"),
        ("-1", "above 0"),
        ("1.5", "ratio must be below 1"),
        ("nan", "finite"),
        ("abc", "not a number"),
        ("-1G", "--target-flops"),
    ],
)
def test_senseless_targets(workplace: Path, cli: Cli, target: str, said: str) -> None:
    outcome = cli(*TINY, "--target-flops", target, "-o", "small.onnx")
    expect_one_line(outcome, outcome[0], said)
    assert outcome[0] in (2, 4)
    assert not (workplace / "small.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("missing.pt", "--target-flops", "0.5", "-o", "s.onnx"), 10, "missing.pt"),
        (("nothing", "--target-flops", "0.5"), 1, "no such file or command"),
        (("bnech", "a.onnx"), 1, "did you mean `compressc bench`"),
        ((*TINY, "--target-flops", "0.5"), 2, "-o small.onnx"),
        ((*TINY, "-o", "s.onnx"), 2, "--target-flops 0.5"),
        ((*TINY, "--target-flops", "0.5", "-o", "no/such/s.onnx"), 7, "does not exist"),
        ((*TINY, "--target-flops", "0.5", "-o", "."), 7, "is a folder"),
        ((*TINY, "--target-flops", "0.5", "-o", "/dev/null"), 7, "device or pipe"),
        ((*TINY, "--target-flops", "0.5", "-o", "/proc/small.onnx"), 7, "cannot be written"),
        ((*TINY, "--target-flops", "0.5", "-o", "tiny.pt"), 7, "-o writes ONNX"),
        ((*TINY, "--target-flops", "0.5", "--save", "tiny.pt"), 7, "an input of this command"),
        ((*TINY, "--target-flops", "0.5", "-o", "a.onnx", "--save", "a.onnx"), 7, "two outputs"),
        ((*TINY, "--target-flops", "0.5", "--report", "r.txt"), 7, ".html or .json"),
        (
            (*TINY, "--target-flops", "0.5", "--target-macs", "0.5", "-o", "s.onnx"),
            2,
            "not allowed",
        ),
        (
            (*TINY, "--target-flops", "0.5", "--pass", "nope", "-o", "s.onnx"),
            1,
            "no pass is called",
        ),
        (
            (*TINY, "--target-flops", "0.5", "--no-repair", "--norm", "l9", "-o", "s.onnx"),
            2,
            "--norm 'l9'",
        ),
        ((*TINY, "--sparsity", "2", "-o", "s.onnx"), 4, "sparsity"),
        (
            (*TINY, "--target-flops", "0.5", "--keep", "laier*", "-o", "s.onnx"),
            1,
            "matches no layer",
        ),
        ((*TINY, "--target-flops", "0.5", "--threads", "0", "-o", "s.onnx"), 2, "--threads"),
        ((*TINY, "--target-flops", "0.5", "--multiple-of", "-4", "-o", "s.onnx"), 4, "multiple_of"),
        ((*TINY, "--target-flops", "0.001", "-o", "s.onnx"), 4, ""),
        ((*TINY, "--arch-arg", "classes", "--target-flops", "0.5", "-o", "s.onnx"), 2, "KEY=VALUE"),
        (("tiny.pt", "--target-flops", "0.5", "-o", "s.onnx"), 10, "--arch"),
        (("inspect", "missing.pt"), 10, "missing.pt"),
        (("inspect", *TINY, "--group", "nope*"), 1, "matches no group"),
        (("bench", "missing.onnx"), 17, "missing.onnx"),
        (("bench", "tiny.pt"), 17, "tiny.pt"),
        (("bench", "tiny.pt", "--json", "no/such.json"), 7, "does not exist"),
        (("bench", "tiny.pt", "--json", "tiny.pt"), 7, "an input of this command"),
        (("bench", "tiny.pt", "--shape", "x"), 2, "NAME=SIZES"),
        (("passes", "nope"), 1, "no pass is called"),
        (("demo", "--epochs", "-1"), 2, "--epochs"),
        (("demo", "-o", "tiny.pt/x"), 7, "cannot be made"),
    ],
)
def test_bad_command_lines(
    workplace: Path, cli: Cli, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = sorted(workplace.iterdir())
    expect_one_line(cli(*arguments), code, said)
    left = [path for path in workplace.iterdir() if path.name != "__pycache__"]
    assert sorted(left) == before


def taken_for_a_missing_package() -> CompresscError:
    error = CompresscError("pass 'magnitude' cannot be imported; install scipy")
    error.__cause__ = ImportError("scipy.so: failed to map segment from shared object")
    return error


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 71, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 71, "out of memory"),
        (RuntimeError("std::bad_alloc"), 71, "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 71, "out of memory"),
        (taken_for_a_missing_package(), 71, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.onnx"), 74, "No space left"),
        (VerificationError("it differs\nby a lot"), 6, "it differs by a lot"),
        (ZeroDivisionError("oops"), 70, "COMPRESSC_TRACEBACK=1"),
    ],
)
def test_failures_inside(
    workplace: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(compression, "run_job", fail)
    outcome = cli(*TINY, "--target-flops", "0.5", "-o", "small.onnx")
    expect_one_line(outcome, code, said)
    assert not (workplace / "small.onnx").exists()


def test_a_traceback_is_printed_on_request(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPRESSC_TRACEBACK", "1")
    assert main(["missing.pt", "--target-flops", "0.5", "-o", "s.onnx"]) == 10
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_while_writing_leaves_the_old_file(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "small.onnx").write_text("old")
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.suffix == ".onnx" or "small.onnx" in self.name:
            real(self, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = cli(*TINY, "--target-flops", "0.5", "-o", "small.onnx", "--no-measure", "--quiet")
    expect_one_line(outcome, 7, "No space left")
    assert (workplace / "small.onnx").read_text() == "old"
    assert not [p for p in workplace.iterdir() if p.name.startswith(".small")]
