"""The report as a value, as JSON and as a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressc.errors import OutputError
from compressc.pipeline.findings import Metric
from compressc.reporting.report import Amounts
from compressc.reporting.report_file import write_report
from compressc.reporting.summary import judge_speed, summarize
from compressc.reporting.table import print_report
from compressc.runtime.bench_result import BenchResult
from compressc.verdict import Check, Verdict
from tests.reporting.conftest import BUSY, FASTER, SAME, SLOWER, make_bench, make_report


def test_json_is_strict_and_complete() -> None:
    bench = make_bench(FASTER)
    endless = Check("odd", True, "an output that never varies", {"variation": float("inf")})
    report = make_report(bench=bench, verdict=Verdict((endless,)))
    document = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert document["before"]["flops"] == 4_000_000
    assert document["verdict"]["passed"] is True
    assert document["verdict"]["checks"][0]["numbers"]["variation"] == "inf"
    assert document["layers"][0]["widths_after"] == [3, 32]
    again = BenchResult.from_json(json.dumps(document["bench"]))
    assert again.ratios == bench.ratios


def test_a_failed_check_is_a_failed_report() -> None:
    verdict = Verdict((Check("a", True, ""), Check("b", False, "")))
    assert json.loads(make_report(verdict=verdict).to_json())["verdict"]["passed"] is False
    assert not Verdict().passed


@pytest.mark.parametrize(
    ("ratio", "said", "is_faster"),
    [
        (FASTER, "2.00x faster (1.92x to 2.08x)", True),
        (SLOWER, "SLOWER than the original: 0.80x", False),
        (SAME, "no measurable difference", False),
    ],
)
def test_speed_is_told_frankly(ratio: object, said: str, is_faster: bool) -> None:
    speed = judge_speed(make_report(bench=make_bench(ratio)))  # type: ignore[arg-type]
    assert speed is not None
    assert said in speed.sentence
    assert "1 thread, batch 1, 20 interleaved rounds" in speed.sentence
    assert speed.is_faster is is_faster


def test_a_busy_machine_is_judged_by_cpu_time() -> None:
    bench = make_bench(FASTER, quietness=BUSY, cpu_ms=(3.0, 2.0))
    speed = judge_speed(make_report(bench=bench))
    assert speed is not None
    assert speed.factor == pytest.approx(1.5)
    assert "1.50x faster by CPU time; by wall time 2.00x" in speed.sentence


def test_rows_follow_what_is_known() -> None:
    names = [row.name for row in summarize(make_report())]
    assert names == ["MACs", "FLOPs (2 x MACs)", "params", "ONNX file"]
    rows = summarize(
        make_report(bench=make_bench(FASTER), metric=Metric("accuracy [%]", 99.0, 98.5))
    )
    found = {row.name: row for row in rows}
    assert found["latency p50 (wall time)"].ratio == "50.0 %"
    assert found["accuracy [%]"].ratio == "-0.50"
    assert found["MACs"].share == pytest.approx(0.49)


def test_the_terminal_shows_checks_notes_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "small.onnx"
    written.write_bytes(b"x" * 1234)
    print_report(make_report(), [written])
    out = capsys.readouterr().out
    for text in ("net <1>.pt", "49.0 %", "ok  lowered == masked", "take & care", "(1.23 kB)"):
        assert text in out


@pytest.mark.parametrize("name", ["r.txt", "report", "r.onnx"])
def test_a_report_is_html_or_json(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.html or \.json"):
        write_report(tmp_path / name, make_report())
    assert not list(tmp_path.iterdir())


def test_both_forms_are_written(tmp_path: Path) -> None:
    write_report(tmp_path / "r.json", make_report())
    write_report(tmp_path / "r.HTML", make_report())
    assert json.loads((tmp_path / "r.json").read_text())["format"] == "compressc-report-1"
    assert "<!DOCTYPE html>" in (tmp_path / "r.HTML").read_text()


def test_zeros_have_a_row_and_the_file_is_what_is_compared() -> None:
    before, after = Amounts(100, 1000, 4000), Amounts(100, 1000, 4000, 480, zeros=900)
    found = {row.name: row for row in summarize(make_report(before=before, after=after))}
    assert found["zeros among the params"].after == "90.0 %"
    assert found["weights, then the ONNX file"].ratio == "12.0 %"


def test_params_are_those_that_bench_counts_too() -> None:
    before = Amounts(100, 1000, 4000, 5000, file_params=900)
    after = Amounts(50, 500, 2000, 2500, file_params=450)
    found = {row.name: row for row in summarize(make_report(before=before, after=after))}
    assert found["params in the ONNX file"].before == "900"
    assert found["params"].before == "1.00 k"
