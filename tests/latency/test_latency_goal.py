"""A latency as the goal of a whole compression: what decides, what is checked, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.backend.channel_padding import pad_channels
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.contract.registry import find_pass
from compressc.coupling.graph import couple
from compressc.errors import CompresscError, GoalError, VerificationError
from compressc.goal import Goal, LatencyBound, parse_latency
from compressc.latency.latency_model import build_latency_model
from compressc.pipeline.checks import check_latency
from compressc.program import Constraints, Program
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.benchmark import bench
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.quietness import Quietness
from compressc.settings import Settings
from compressc.target import read_target
from tests.latency.conftest import Residual, build_program, formula_table, full_kernels

NAME = "residual"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The cost table of some machine, which knows the network."""
    table, kernels = formula_table(full_kernels(NAME)), full_kernels(NAME)
    model = build_latency_model(couple(build_program(NAME)), kernels, table)
    latency = dict.fromkeys(("p50", "p90", "p99"), model.latency_ms(model.sizes))
    path = tmp_path / "device.json"
    path.write_text(
        replace(table, networks={"n.onnx": replace(kernels, latency_ms=latency)}).to_json()
    )
    return path


def free() -> Program:
    """The network without a channel step of its own."""
    return build_program(NAME).with_constraints(Constraints())


def test_a_latency_alone_is_met_for_a_device_and_said_to_be_predicted(device: Path) -> None:
    where = {"settings": Settings(measure=False), "target": read_target(device)}
    result = compressc.compress(free(), goal=Goal(latency_ms=0.5), repair=False, **where)
    check = next(c for c in result.report.verdict.checks if c.name == "latency goal")
    assert "predicted, not measured" in check.text
    assert "measure it there" in check.text
    assert check.numbers["predicted_ms"] <= 1.05 * check.numbers["target_ms"]
    assert [row.name for row in result.report.passes] == ["latency"]
    assert result.report.goal["latency"] == "0.5 of the original at p50"
    # Counts are what the table calls fast: whole blocks, though no step was given.
    assert all(int(mask.sum()) % 16 == 0 for mask in result.plans[0].keep.values())
    assert result.report.multiple_of % 16 == 0


def test_both_macs_and_latency_hold(device: Path) -> None:
    where = {"settings": Settings(measure=False), "target": read_target(device)}
    goal = Goal(latency_ms=0.9, macs=0.4)
    report = compressc.compress(free(), goal=goal, repair=False, **where).report
    assert report.after.macs <= 0.4 * report.before.macs
    assert "latency goal" in [check.name for check in report.verdict.checks]


@pytest.mark.slow
def test_a_whole_run_measures_the_file_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("compressc.passes.latency.meeting._SECONDS", 0.2)
    monkeypatch.setattr("compressc.pipeline.checks._LATENCY_TOLERANCE", 1.0)  # a busy test machine
    settings = Settings(seconds=0.5)
    result = compressc.compress(free(), goal=Goal(latency_ms=0.8), settings=settings, repair=False)
    check = next(c for c in result.report.verdict.checks if c.name == "latency goal")
    assert "measured" in check.text
    assert "predicted" in check.text
    assert result.report.bench is not None
    assert result.report.goal["latency"] == "0.8 of the original at p50"


def test_out_of_reach_says_how_far_it_goes(device: Path) -> None:
    where = {"settings": Settings(measure=False), "target": read_target(device)}
    with pytest.raises(GoalError, match=r"narrowest plan takes about .* of the original"):
        compressc.compress(free(), goal=Goal(latency_ms=0.001), repair=False, **where)


def test_a_table_of_other_threads_or_another_model_or_none_is_refused_before_work(
    device: Path, tmp_path: Path
) -> None:
    goal = Goal(latency_ms=0.5)

    def refused(table: Path, model: Program, threads: int = 1) -> str:
        def attempt() -> None:
            target = read_target(table, threads)
            compressc.compress(
                model, goal=goal, target=target, settings=Settings(measure=False), repair=False
            )

        with pytest.raises((CompresscError, RuntimeFailure)) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "1 threads, not 2" in refused(device, free(), threads=2)
    other = build_program("depthwise").with_constraints(Constraints())
    assert "not called as this model's" in refused(device, other)
    assert "cannot be read" in refused(tmp_path / "missing.json", free())
    for number, text in enumerate(("{", "[]", '{"format": "compressc-cost-table-9"}', "")):
        bad = tmp_path / f"bad{number}.json"
        bad.write_text(text)
        assert "not a cost table" in refused(bad, free())
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refused(tmp_path / "binary.json", free())


def test_nothing_that_measures_or_predicts_is_no_proof() -> None:
    goal = Goal(macs=0.5, latency_ms=0.5)
    passes = [find_pass("magnitude")()]
    with pytest.raises(VerificationError, match="latency goal does not hold"):
        compressc.compress(free(), goal=goal, passes=passes, settings=Settings(measure=False))


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """The network timed against itself; the tests put numbers of their own in."""
    folder = tmp_path_factory.mktemp("bench")
    torch.manual_seed(0)
    program = compressc.capture(nn.Conv2d(3, 8, 1).eval(), (torch.randn(2, 3, 4, 4),))
    write_onnx(export_onnx(program), folder / "m.onnx")
    return bench([folder / "m.onnx"] * 2, seconds=0.05, peak_rss=False)


def judged(
    timed: BenchResult, target: str, wall: Sequence[float], cpu: Sequence[float], quiet: bool = True
) -> bool:
    measurements = tuple(
        replace(one, latency_p50_ms=w, latency_p90_ms=2 * w, cpu_ms=c)
        for one, w, c in zip(timed.measurements, wall, cpu, strict=True)
    )
    ratios = (timed.ratios[0], replace(timed.ratios[1], value=wall[1] / wall[0]))
    state = Quietness(1.0, 0.0, 0.0, 8) if quiet else Quietness(0.5, 1.0, 4.0, 2)
    assert state.is_quiet is quiet
    bench = replace(timed, measurements=measurements, ratios=ratios, quietness=state)
    bound = parse_latency(target)
    assert isinstance(bound, LatencyBound)
    return check_latency(bound, {}, "", bench).passed


@pytest.mark.parametrize(
    ("target", "wall", "cpu", "quiet", "passed"),
    [
        ("0.5", (10, 5.2), (10, 9), True, True),
        ("0.5", (10, 5.3), (10, 4), True, False),
        ("0.5", (10, 9.0), (10, 5.2), False, True),  # busy: CPU time counts
        ("0.5", (10, 1.0), (10, 5.3), False, False),
        ("5ms", (10, 5.2), (10, 9), True, True),
        ("5ms", (10, 5.3), (10, 4), True, False),
        ("10ms@p90", (10, 5.2), (10, 9), True, True),
        ("0.5@p90", (10, 5.3), (10, 9), True, False),
    ],
)
def test_five_percent_above_still_meets_it(
    timed: BenchResult,
    target: str,
    wall: Sequence[float],
    cpu: Sequence[float],
    quiet: bool,
    passed: bool,
) -> None:
    assert judged(timed, target, wall, cpu, quiet) is passed


def test_a_prediction_is_judged_alike() -> None:
    bound = LatencyBound(0.5, True)

    def passes(predicted: float) -> bool:
        numbers = {"predicted_latency_ms": predicted, "original_latency_ms": 10.0}
        return check_latency(bound, numbers, "phone", None).passed

    assert passes(5.2)
    assert not passes(5.3)
    assert not check_latency(bound, {}, "", None).passed


@pytest.mark.slow
def test_odd_widths_are_padded_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ratio that the user pinned to an odd count: zero channels, and the proof still holds."""

    def always(model, *_arguments):
        padded = pad_channels(model)
        return (padded.model, "padded") if padded else (model, "")

    monkeypatch.setattr("compressc.pipeline.exporting.pad_where_faster", always)
    torch.manual_seed(0)
    program = compressc.capture(Residual().eval(), (torch.randn(2, 3, 8, 8),))
    one = find_pass("magnitude")(ratios=(("a.0", 0.55), ("c.0", 0.8)))
    settings = Settings(seconds=0.2)
    result = compressc.compress(
        program, goal=Goal(), passes=[one], multiple_of=1, settings=settings
    )
    assert "padded" in result.report.notes
    counts = {int(mask.sum()) for mask in result.plans[0].keep.values()}
    assert any(count % 4 for count in counts)
    weights = {tensor.name: list(tensor.dims) for tensor in result.onnx.graph.initializer}
    names = [n.input[1] for n in result.onnx.graph.node if n.op_type == "Conv"]
    assert all(weights[name][0] % 4 == 0 for name in names)
    # A goal that the zeros would break comes first.
    share = np.nextafter(result.report.after.macs / result.report.before.macs, 1) + 1e-9
    bounded = compressc.compress(
        result.original.with_plan(result.plans[0]),
        goal=Goal(macs=float(share)),
        passes=(),
        settings=settings,
    )
    assert "padded" not in bounded.report.notes
