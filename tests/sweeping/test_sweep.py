"""A sweep: its files, what it shares, how it goes on, what is on the front."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from compressc.backend.onnx_export import export_onnx
from compressc.coupling import graph
from compressc.errors import GoalError, OutputError
from compressc.goal import Bound, Goal, LatencyBound
from compressc.passes.unit_features import registry
from compressc.pipeline.job import Job
from compressc.program import Constraints, Program
from compressc.runtime.cost_table import CostTable
from compressc.runtime.machine import describe_machine
from compressc.settings import Repair, Settings
from compressc.sweeping import driver
from compressc.sweeping.driver import sweep
from compressc.sweeping.inputs import drift_inputs
from compressc.sweeping.page import draw_front, render_sweep
from compressc.sweeping.result import Sweep, SweepRow
from compressc.sweeping.run import Run
from compressc.sweeping.table import print_sweep
from compressc.sweeping.targets import label
from compressc.target import Target, read_target
from tests.reporting.svg_kit import hints, svgs, texts
from tests.small_networks import TwoConvs, seeded_program

QUICK = Settings(measure=False)


class Params:
    """Counts parameters; the original is asked once."""

    metric_name = "params"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def evaluate(self, module: nn.Module) -> float:
        count = sum(p.numel() for p in module.parameters())
        self.asked.append(count)
        return float(count)


def build() -> Program:
    return seeded_program(TwoConvs)


@pytest.fixture
def program() -> Program:
    return build()


def run(program: Program, folder: Path, *targets: Any, kind: str = "macs", **asked: Any) -> Sweep:
    bare = {"multiple_of": 4, "settings": QUICK, "repair": Repair("never")}
    job = Job(program, **{**bare, **asked})
    return sweep(job, targets, folder=folder, kind=kind)


def test_a_front_of_files(program: Program, tmp_path: Path) -> None:
    task = Params()
    found = run(
        program, tmp_path / "front", 0.8, 0.5, 0.0001, task=task, settings=Settings(seconds=0.5)
    )
    first, large, small, unmet = found.rows
    assert [row.target for row in found.rows] == ["original", "0.8", "0.5", "0.0001"]
    assert first.macs > large.macs > small.macs
    assert small.macs <= 0.5 * first.macs
    assert "cannot be reached" in unmet.reason
    assert not unmet.is_met
    assert found.met == (large, small)
    for row in (first, large, small):
        onnx.checker.check_model(onnx.load(tmp_path / "front" / row.file))
    # The original is judged once, each result once.
    assert len(task.asked) == 3
    assert first.metric == task.asked[0] > large.metric > small.metric  # type: ignore[operator]
    assert found.bench is not None
    assert [m.path for m in found.bench.measurements] == [r.file for r in (first, large, small)]
    assert first.speedup == 1.0
    assert small.latency_ms is not None
    assert first in found.front
    stored = json.loads((tmp_path / "front" / "sweep.json").read_text())
    assert [row["target"] for row in stored["rows"]] == ["original", "0.8", "0.5", "0.0001"]
    page = (tmp_path / "front" / "sweep.html").read_text()
    assert "2 of 3 targets met" in page
    assert len(hints(svgs(page)[0])) == 3
    assert not (tmp_path / "front" / "state").exists()
    report = json.loads((tmp_path / "front" / "macs-0.5.json").read_text())
    assert report["after"]["macs"] == small.macs


@pytest.mark.slow
def test_scores_are_shared(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    coupled: list[int] = []
    real, real_build = registry.measure_relative_norms, graph.build_coupling

    def measure(original: Program, norm: Any) -> Any:
        measured.append(norm)
        return real(original, norm)

    def build_coupling(original: Program) -> Any:
        coupled.append(len(original.state()))
        return real_build(original)

    monkeypatch.setattr(registry, "measure_relative_norms", measure)
    run(program, tmp_path / "a", 0.8, passes="magnitude")
    once = len(measured)
    assert once
    monkeypatch.setattr(graph, "build_coupling", build_coupling)
    run(program, tmp_path / "b", 0.7, 0.6, 0.5, passes="magnitude")
    assert len(measured) == once
    # What remains to be coupled are the small networks, once each.
    assert len(coupled) <= 3 * 2


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = driver.run_job

    def run_job(job: Job, progress: Any) -> Any:
        made.append(label(job.goal.macs))  # type: ignore[arg-type]
        if made == ["0.8", "0.6"]:
            raise KeyboardInterrupt
        return real(job, progress)

    monkeypatch.setattr(driver, "run_job", run_job)
    with pytest.raises(KeyboardInterrupt):
        run(program, tmp_path, 0.8, 0.6, 0.5)
    assert (tmp_path / "sweep.json").exists()
    before = (tmp_path / "macs-0.8.onnx").stat().st_mtime_ns
    found = run(build(), tmp_path, 0.8, 0.6, 0.5)
    assert made == ["0.8", "0.6", "0.6", "0.5"]
    assert (tmp_path / "macs-0.8.onnx").stat().st_mtime_ns == before
    assert len(found.met) == 3
    # Nothing is left to do; a target more is made alone, one less is left out.
    run(build(), tmp_path, 0.8, 0.6, 0.5)
    assert len(made) == 4
    assert [row.target for row in run(build(), tmp_path, 0.8, 0.4).rows[1:]] == ["0.8", "0.4"]
    assert made[4:] == ["0.4"]


@pytest.mark.slow
def test_what_changed_is_made_again(program: Program, tmp_path: Path) -> None:
    before = run(program, tmp_path, 0.6).rows[1]
    (tmp_path / before.file).write_bytes(b"torn")
    assert run(program, tmp_path, 0.6).rows[1].sha256 == before.sha256
    other = run(program, tmp_path, 0.6, constraints=Constraints(keep=("conv1",))).rows[1]
    assert other.key != before.key
    assert other.sha256 != before.sha256
    assert run(program, tmp_path, 0.6, goal=Goal(seed=1)).rows[1].key != before.key


class Answers:
    """Says how often a network finds the labels of its test split, which are its fingerprint."""

    metric_name = "accuracy"

    def __init__(self, labels: list[int]) -> None:
        self.labels = torch.tensor(labels)

    def evaluate(self, module: nn.Module) -> float:
        x = torch.randn(len(self.labels), 3, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return 100.0 * float((module(x).argmax(1) == self.labels).double().mean())

    def test_fingerprint(self) -> str:
        return str(self.labels.tolist())


@pytest.mark.slow
def test_other_test_labels_are_judged_anew(program: Program, tmp_path: Path) -> None:
    right, wrong = ([label] * 8 for label in (0, 1))
    before = run(program, tmp_path, 0.6, task=Answers(right)).rows
    after = run(program, tmp_path, 0.6, task=Answers(wrong)).rows
    fresh = run(program, tmp_path / "fresh", 0.6, task=Answers(wrong)).rows
    assert [row.metric for row in after] == [row.metric for row in fresh]
    assert [row.metric for row in after] != [row.metric for row in before]
    # The network is the same; its file says how good it is, so that it is another one.
    assert [(row.macs, row.drift) for row in after] == [(row.macs, row.drift) for row in before]


@pytest.mark.slow
def test_a_device_that_was_profiled_again_is_asked_again(program: Program, tmp_path: Path) -> None:
    path, table = (
        tmp_path / "phone.json",
        CostTable(describe_machine(), 1, 16, node_ms=0.0002, call_ms=0.1),
    )

    def key(milliseconds: float, place: Path = path) -> str:
        place.write_text(replace(table, call_ms=milliseconds).to_json())
        job = Job(program, multiple_of=4, settings=QUICK, target=read_target(place))
        return any_run(job, tmp_path).key(Goal(latency_ms=0.5))

    assert key(0.1) == key(0.1) == key(0.1, tmp_path / "moved.json")
    assert key(0.1) != key(0.2)
    # Without a latency in the goal no table counts.
    here = Job(program, multiple_of=4, settings=QUICK)
    there = replace(here, target=read_target(path))
    goal = Goal(macs=0.5)
    assert any_run(there, tmp_path).key(goal) == any_run(here, tmp_path).key(goal)


def any_run(job: Job, folder: Path) -> Run:
    assert isinstance(job.model, Program)
    model = export_onnx(job.model)
    return Run(job, job.model, folder, model, drift_inputs(job.model, model, None, QUICK, 0))


@pytest.mark.parametrize("content", ["", "{}", '{"format": "compressc-sweep-1"}', "\x00"])
def test_a_damaged_state_is_ignored(program: Program, tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    assert run(program, tmp_path, 0.6).rows[1].is_met


@pytest.mark.slow
def test_the_same_files_are_timed_once(program: Program, tmp_path: Path) -> None:
    timed = Settings(seconds=0.5)
    first = run(program, tmp_path, 0.6, settings=timed).bench
    again = run(program, tmp_path, 0.6, settings=timed).bench
    batch = run(program, tmp_path, 0.6, settings=timed, target=Target(batch=2)).bench
    assert first is not None
    assert again is not None
    assert batch is not None
    assert again.taken_at == first.taken_at
    assert again.measurements[1].latency_p50_ms == first.measurements[1].latency_p50_ms
    assert batch.measurements[0].batch == 2


def row(target: str, effort: float, quality: float, **more: Any) -> SweepRow:
    return SweepRow(target, target, f"{target}.onnx", drift=-quality, latency_ms=effort, **more)


def front_of(*rows: SweepRow) -> list[str]:
    found = Sweep("net", "macs", tuple(replace(one, macs=int(one.effort)) for one in rows))
    return [one.target for one in found.with_bench(None).front]


def test_the_front_holds_what_nothing_beats() -> None:
    good, fast = row("original", 9, 0.0), row("a", 3, -0.5)
    dominated, middle = row("b", 4, -0.6), row("c", 5, -0.2)
    assert front_of(good, fast, dominated, middle) == ["a", "c", "original"]
    assert front_of(good, row("twin", 9, 0.0)) == ["original", "twin"]
    assert front_of(good, row("slow", 9, -0.1)) == ["original"]


def test_files_at_chance_are_on_no_front(capsys: pytest.CaptureFixture[str]) -> None:
    good, dead = row("original", 9, 0.0), row("a", 3, -0.5, at_chance=True)
    assert front_of(good, dead, row("b", 4, -0.2)) == ["b", "original"]
    found = Sweep("net", "macs", (good, dead))
    assert ", at chance" in render_sweep(found)
    print_sweep(found)
    assert "at chance" in capsys.readouterr().out


def test_synthetic_inputs_are_made_once_for_all_targets(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = driver.with_samples
    monkeypatch.setattr(driver, "with_samples", lambda *given: made.append(1) or make(*given))
    found = run(program, tmp_path, 0.8, 0.6, repair=Repair())
    assert len(found.met) == 2
    assert len(made) == 1
    assert found.drift_source == "synthetic inputs"
    again = run(program, tmp_path, 0.8, 0.6, repair=Repair())
    assert [one.key for one in again.rows] == [one.key for one in found.rows]


def test_the_picture_puts_better_files_on_top(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (row("original", 9, 0.0, on_front=True), row("a<b", 3, -0.5, on_front=True))
    unmet = SweepRow("0.1", "k", reason="too small")
    found = Sweep("net", "macs", (*rows, unmet), drift_source="noise")
    picture = draw_front(found)
    assert picture is not None
    (svg,) = svgs(picture)
    first, second = ((float(x.get("x", 0)), float(x.get("y", 0))) for x in hints(svg).values())
    assert first[1] < second[1]  # SVG counts downwards
    assert first[0] > second[0]
    assert {
        "latency p50 in ONNX Runtime [ms]",
        "drift (less is better, on top)",
        "on the front",
    } <= set(texts(svg))
    # No drift is negative, though there is room above the best for its name.
    assert not any("\N{MINUS SIGN}" in text for text in texts(svg))
    page = render_sweep(found)
    assert "a&lt;b" in page
    assert "not met: too small" in page
    assert draw_front(Sweep("net", "macs", (unmet,))) is None
    print_sweep(found)
    assert "0.1 was not met: too small" in capsys.readouterr().out


def test_calls_that_make_no_sense(program: Program, tmp_path: Path) -> None:
    with pytest.raises(GoalError, match="kind 'speed'"):
        run(program, tmp_path, 0.5, kind="speed")
    with pytest.raises(GoalError, match="needs targets"):
        run(program, tmp_path)
    with pytest.raises(GoalError, match="must be above 0"):
        run(program, tmp_path, 0.5, -1)
    with pytest.raises(GoalError, match="no bounds of its own"):
        run(program, tmp_path, 0.5, goal=Goal(params=0.5))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        run(program, tmp_path / "file" / "front", 0.5)
    assert not list(tmp_path.glob("*.onnx"))


def test_labels() -> None:
    assert label(Bound(0.35, True)) == "0.35"
    assert label(Bound(2e9, False)) == "2000000000"
    assert label(LatencyBound(5.0, False, "p90")) == "5ms@p90"
    assert label(LatencyBound(0.5, True)) == "0.5"
