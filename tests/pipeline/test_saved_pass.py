"""Results of passes on disk: what a cut-off run leaves, and what must not be trusted."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressc.compression import Result, compress
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.errors import OutputError
from compressc.goal import Goal
from compressc.passes.dead_channels import DeadChannels
from compressc.pipeline import pass_runs, saved_pass
from compressc.pipeline.saved_pass import remove_saved_passes
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.settings import Settings
from tests.small_networks import seeded_program


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.middle = nn.Linear(16, 8)
        self.fc = nn.Linear(8, 8)
        self.last = nn.Linear(8, 8)
        self.last.weight = self.fc.weight  # tied weights share memory

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.norm(self.conv(x)).relu().mean((2, 3)))
        return self.last(self.fc(x))


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(Net)


@dataclass(frozen=True)
class Trim(Pass):
    """Decides, repairs and remarks; counts its calls."""

    share: float = 0.75
    score: Callable[[int], int] | None = None
    calls: ClassVar[list[int]] = []
    name: ClassVar[str] = "trim"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep", "zero", "weights"}))

    def __call__(self, program: Program, context: Context) -> Program:
        self.calls.append(1)
        zero = np.ones((8, 8), dtype=bool)
        zero[3] = False
        plan = Plan(keep={"conv": np.arange(16) < 16 * self.share}, zero={"fc.weight": zero})
        state = {name: tensor * 1.5 for name, tensor in program.state().items()}
        return (
            program.with_plan(plan).with_state(state).with_line(HistoryLine("trim", notes=("hm",)))
        )


@dataclass(frozen=True)
class Train(Pass):
    """Stands for training; dies where told to, leaving state of its own."""

    dies: ClassVar[bool] = False
    name: ClassVar[str] = "train"
    declares: ClassVar[Declaration] = Declaration(runs_on="lowered", changes=frozenset({"weights"}))

    def __call__(self, program: Program, context: Context) -> Program:
        note = "without state"
        if context.work_dir is not None:
            context.work_dir.mkdir(parents=True, exist_ok=True)
            mark = context.work_dir / "epoch.txt"
            note = "went on" if mark.exists() else "from the start"
            mark.write_text("1")
        if self.dies:
            raise KeyboardInterrupt
        state = {name: tensor + 0.25 for name, tensor in program.state().items()}
        return program.with_state(state).with_line(HistoryLine("train", notes=(note,)))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_runs, "_WORTH_SAVING_SECONDS", -1.0)
    monkeypatch.setattr(Trim, "calls", [])


Run = Callable[..., Result]


@pytest.fixture
def run(program: Program, tmp_path: Path) -> Run:
    def start(share: float = 0.75, seed: int = 0, work: str | None = "state") -> Result:
        return compress(
            program,
            goal=Goal(seed=seed),
            passes=[Trim(share), Train()],
            settings=Settings(measure=False),
            work_dir=None if work is None else tmp_path / work,
        )

    return start


def cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Train, "dies", True)
        with pytest.raises(KeyboardInterrupt):
            run()


def weights(result: Result) -> dict[str, bytes]:
    return {tensor.name: tensor.raw_data for tensor in result.onnx.graph.initializer}


def saved_file(tmp_path: Path) -> Path:
    (path,) = tmp_path.glob("state/*/result-*.state")
    return path


def test_a_run_that_was_cut_off_goes_on_to_the_same_result(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(work=None)
    cut_off(run, monkeypatch)
    assert len(Trim.calls) == 2
    result = run()
    assert len(Trim.calls) == 2
    assert weights(result) == weights(undisturbed)
    assert result.plans == undisturbed.plans
    assert result.program.sparse_weights == ("fc.weight",)
    trim, train = result.report.passes
    assert (trim.settings, trim.notes) == ({"share": 0.75, "score": None}, ("hm",))
    assert train.notes == ("went on",)
    assert any(note.startswith("trim was done by an earlier run") for note in result.report.notes)
    first = result.report.verdict.checks[0]
    assert (first.name, first.passed) == ("lowered == masked", True)


def test_state_of_a_finished_pass_makes_room(run: Run, tmp_path: Path) -> None:
    run()
    assert not list(tmp_path.glob("state/*/epoch.txt"))
    assert len(list(tmp_path.glob("state/*/result-*.state"))) == 2
    run()
    assert len(Trim.calls) == 1


def test_nothing_is_kept_of_what_is_done_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_runs, "_WORTH_SAVING_SECONDS", 100.0)
    run()
    assert not list(tmp_path.glob("state/*/result-*.state"))


def test_other_settings_seeds_and_weights_run_anew(
    run: Run, program: Program, tmp_path: Path
) -> None:
    run()
    run(share=0.5)
    run(seed=1)
    other = program.with_state({n: t + 1 for n, t in program.state().items()})
    compress(
        other, goal=Goal(), passes=[Trim()], settings=Settings(measure=False),
        work_dir=tmp_path / "state",
    )  # fmt: skip
    assert len(Trim.calls) == 4


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(bytes(content))


def write_nonsense(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not what it was")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, write_nonsense, empty])
def test_a_damaged_file_is_ignored_with_a_note(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    undisturbed = run(work=None)
    cut_off(run, monkeypatch)
    damage(saved_file(tmp_path))
    result = run()
    assert len(Trim.calls) == 3
    assert weights(result) == weights(undisturbed)
    assert any("not a usable result of trim" in note for note in result.report.notes)
    assert run().report.notes != result.report.notes
    assert len(Trim.calls) == 3


def test_a_result_of_another_run_is_not_taken(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(run, monkeypatch)
    mine = saved_file(tmp_path)
    foreign = tmp_path / "foreign"
    shutil.copy(mine, foreign)
    shutil.rmtree(tmp_path / "state")
    undisturbed = run(share=0.5)
    first = min(tmp_path.glob("state/*/result-*.state"), key=lambda p: p.stat().st_mtime_ns)
    shutil.copy(foreign, first)
    result = run(share=0.5)
    assert weights(result) == weights(undisturbed)
    assert any("not a usable result of trim" in note for note in result.report.notes)


def test_a_full_disk_is_said_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"result-.*No space left on device"):
        run()


def test_a_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OutputError, match="--work-dir"):
        run()


def test_removing_leaves_what_others_put_there(run: Run, tmp_path: Path) -> None:
    run()
    state = tmp_path / "state"
    (state / "mine.txt").write_text("mine")
    remove_saved_passes(state)
    assert [path.name for path in state.iterdir()] == ["mine.txt"]
    (state / "mine.txt").unlink()
    remove_saved_passes(state)
    assert not state.exists()
    remove_saved_passes(state)


class Deadly(nn.Module):
    """A quarter of the channels always carry 0.5: removed, they become a bias that is new."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.middle = nn.Conv2d(16, 8, 1, bias=False)
        self.fc = nn.Linear(8, 4)
        with torch.no_grad():
            self.norm.weight[:4], self.norm.bias[:4] = 0.0, 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.middle(self.norm(self.conv(x)).relu()).relu().mean((2, 3)))


def test_a_pass_that_changes_the_graph_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = DeadChannels.__call__

    def counted(self: DeadChannels, program: Program, context: Context) -> Program:
        calls.append(1)
        return real(self, program, context)

    monkeypatch.setattr(DeadChannels, "__call__", counted)

    def run_dead(work: str | None) -> Result:
        return compress(
            seeded_program(Deadly),
            goal=Goal(),
            passes=[DeadChannels(), Train()],
            settings=Settings(measure=False),
            multiple_of=1,
            work_dir=None if work is None else tmp_path / work,
        )

    undisturbed = run_dead(None)
    assert "middle.bias" in undisturbed.program.state()
    with monkeypatch.context() as patch:
        patch.setattr(Train, "dies", True)
        with pytest.raises(KeyboardInterrupt):
            run_dead("state")
    assert len(calls) == 2
    result = run_dead("state")
    assert len(calls) == 2
    assert weights(result) == weights(undisturbed)
    assert result.plans == undisturbed.plans
    # What runs behind it finds its own state again: it begins with the very same graph.
    assert result.report.passes[1].notes == ("went on",)
    assert not any("would run anew" in note for note in result.report.notes)


def keep_all(count: int) -> int:
    return count


def keep_most(count: int) -> int:
    return count - 1


@pytest.mark.slow
def test_functions_in_the_fields_of_a_pass_count(program: Program, tmp_path: Path) -> None:
    def start(score: Callable[[int], int]) -> Result:
        return compress(
            program,
            goal=Goal(),
            passes=[Trim(score=score)],
            settings=Settings(measure=False),
            work_dir=tmp_path,
        )

    start(keep_all)
    start(keep_most)
    start(lambda count: count)
    start(lambda count: count + 0)
    assert len(Trim.calls) == 4
    start(keep_all)
    start(lambda count: count)  # another object with the same code, at another address
    assert len(Trim.calls) == 4
    lock = threading.Lock()
    for calls in (5, 6):
        result = start(lambda count: count if lock else 0)
        assert len(Trim.calls) == calls
        assert any("trim would run anew" in note for note in result.report.notes)


def test_a_result_that_cannot_be_kept_says_so(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("its graph holds a graph")

    monkeypatch.setattr(saved_pass, "describe_change", refuse)
    result = compress(
        program, goal=Goal(), passes=[Trim()], settings=Settings(measure=False), work_dir=tmp_path
    )
    assert not list(tmp_path.glob("*/result-*.state"))
    assert any("its graph holds a graph" in note for note in result.report.notes)
