import json
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

from compressc.runtime import bench_table
from compressc.runtime.bench_result import BenchResult
from compressc.runtime.benchmark import bench
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.peak_rss import measure_peak_rss, read_peak_rss

QUICK = {"rounds": 3, "warmup_seconds": 0.05, "peak_rss": False}


@pytest.fixture
def deep(build, tmp_path):
    """Eight times the MACs of small_conv."""
    path = tmp_path / "deep.onnx"
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["t", "v"], ["y"], pads=[1, 1, 1, 1]),
    ]
    ones = np.ones((21, 8, 3, 3), np.float32)
    weights = {"w": np.ones((8, 3, 3, 3), np.float32), "v": ones}
    onnx.save(build(nodes, {"x": ["batch", 3, 8, 8]}, weights), path)
    return path


def test_a_result_carries_everything_and_survives_json(small_conv, deep):
    seen = []
    result = bench(
        [small_conv, deep], batch=2, **QUICK, progress=lambda *report: seen.append(report)
    )
    first, second = result.measurements
    assert (first.macs, second.macs) == (13824, 8 * 13824)
    assert (first.params, second.params) == (216, 216 + 1512)
    assert first.size_bytes == small_conv.stat().st_size
    assert first.latency_p50_ms <= first.latency_p90_ms <= first.latency_p99_ms
    assert first.throughput == pytest.approx(2 / first.latency_mean_ms * 1e3)
    assert first.batch == 2
    assert first.input_shapes["x"] == (2, 3, 8, 8)
    assert first.peak_rss_bytes is None
    assert result.ratios[0].value == 1.0
    assert result.rounds == 3
    assert BenchResult.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["machine"]["digest"] == result.machine.digest

    done, totals, texts = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert (done[-1], set(totals)) == (100, {100})
    assert texts[-1] == "round 3 of 3"


def test_the_table_holds_speedups_not_ratios(small_conv):
    result = bench([small_conv, small_conv], **QUICK)
    planted = replace(result.ratios[1], value=0.5, low=0.4, high=0.8)
    rows = bench_table(replace(result, ratios=(result.ratios[0], planted)))
    assert rows[0].speedup == 1.0
    assert (rows[1].speedup, rows[1].speedup_low, rows[1].speedup_high) == (2.0, 1.25, 2.5)
    assert rows[1].is_distinct
    assert rows[1].path == str(small_conv)


def test_rounds_follow_the_seconds(small_conv):
    result = bench([small_conv], seconds=0.3, warmup_seconds=0.05, peak_rss=False)
    assert result.rounds >= 10
    assert result.seconds < 3


def test_peak_memory_is_that_of_the_model_alone(build, small_conv, tmp_path):
    """A large parent and a large sibling must not show in the small model's peak."""
    ballast = np.ones(60_000_000, np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    side = 4000
    model = build([node], {"x": ["n", side]}, {"w": np.ones((side, side), np.float32)})
    onnx.save(model, tmp_path / "large.onnx")
    result = bench([tmp_path / "large.onnx"], rounds=1, warmup_seconds=0.05)
    large = result.measurements[0]
    small = measure_peak_rss(small_conv)
    assert read_peak_rss() > ballast.nbytes
    assert small.baseline_rss_bytes <= small.peak_rss_bytes < ballast.nbytes
    assert large.peak_rss_bytes - large.baseline_rss_bytes > 4 * side * side
    assert large.peak_rss_bytes > small.peak_rss_bytes + 3 * side * side


def test_a_fixed_batch_stands_and_is_noted(build, small_conv, tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    onnx.save(build([node], {"x": [4, 3, 8, 8]}), tmp_path / "fixed.onnx")
    result = bench([tmp_path / "fixed.onnx"], **QUICK)
    assert result.measurements[0].batch == 4
    assert any("runs at batch 4" in note for note in result.notes)
    with pytest.raises(RuntimeFailure, match="at one batch"):
        bench([tmp_path / "fixed.onnx", small_conv], **QUICK)


def test_shapes_reach_the_files_and_typos_are_caught(build, tmp_path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = build([node], {"x": ["n", "length", 4]}, {"w": np.ones((4, 3), np.float32)})
    onnx.save(model, tmp_path / "m.onnx")
    measured = bench([tmp_path / "m.onnx"], shapes={"length": 10}, **QUICK).measurements[0]
    assert (measured.input_shapes["x"], measured.macs) == ((1, 10, 4), 120)
    with pytest.raises(RuntimeFailure, match="shape lenght: no such input or axis; there is"):
        bench([tmp_path / "m.onnx"], shapes={"lenght": 10}, **QUICK)


def test_operators_nobody_counts_are_noted(build, tmp_path):
    nodes = [
        helper.make_node("DFT", ["x", "", "axis"], ["t"]),
        helper.make_node("Identity", ["t"], ["y"]),
    ]
    model = build(nodes, {"x": ["n", 8, 1]}, {"axis": np.array(1, np.int64)})
    onnx.save(model, tmp_path / "dft.onnx")
    notes = bench([tmp_path / "dft.onnx"], **QUICK).notes
    assert any("MACs of DFT" in note for note in notes)


@pytest.mark.parametrize(
    "arguments",
    [{"rounds": 0}, {"seconds": 0.0}, {"seconds": math.nan}, {"threads": 0}, {"batch": 0}],
)
def test_numbers_out_of_range(small_conv, arguments):
    with pytest.raises(RuntimeFailure, match="must be"):
        bench([small_conv], **{**QUICK, **arguments})


def test_no_files_and_bad_files(tmp_path, small_conv):
    with pytest.raises(RuntimeFailure, match="name at least one"):
        bench([])
    with pytest.raises(RuntimeFailure, match="no such file"):
        bench([small_conv, tmp_path / "missing.onnx"], **QUICK)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "other"}', "null"])
def test_documents_that_are_no_results(text):
    with pytest.raises(RuntimeFailure, match="not a benchmark result") as caught:
        BenchResult.from_json(text)
    assert "\n" not in str(caught.value)


def test_files_are_opened_several_times_and_intervals_come_along(small_conv, deep):
    result = bench([small_conv, deep], rounds=8, sessions=4, warmup_seconds=0.05, peak_rss=False)
    for measurement in result.measurements:
        assert measurement.sessions == 4
        for name in ("p50", "p90", "p99"):
            low, high = measurement.latency_intervals_ms[name]
            assert 0 <= low <= getattr(measurement, f"latency_{name}_ms") <= high
    assert not any("opened once" in note for note in result.notes)
    once = bench([small_conv, deep], rounds=2, sessions=1, warmup_seconds=0.05, peak_rss=False)
    assert any("opened once" in note for note in once.notes)
    assert once.measurements[0].sessions == 1


def test_records_without_sessions_can_be_read(small_conv):
    document = json.loads(bench([small_conv], **QUICK).to_json())
    document.pop("cores")
    for file in document["files"]:
        del file["sessions"], file["latency_intervals_ms"]
    old = BenchResult.from_json(json.dumps(document))
    assert old.measurements[0].sessions == 1
    row = bench_table(old)[0]
    assert row.latency_p50_low_ms == row.latency_p50_ms == row.latency_p50_high_ms
