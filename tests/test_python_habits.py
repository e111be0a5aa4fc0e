"""What people write in Python without reading: accepted, or one line that says what to write."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import compressc
from compressc.contract.declaration import Pass
from compressc.errors import CompresscError, GoalError
from compressc.goal import Bound, Goal, read_goal
from compressc.passes.magnitude import Magnitude
from compressc.program import Constraints

X = torch.randn(2, 3, 8, 8)
QUICK = compressc.Settings(measure=False)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 3)).eval()


@pytest.mark.parametrize("goal", [0.5, "0.5", "50%", Goal(macs="50%"), Goal(flops=0.5)])
def test_half_is_half_however_it_is_written(goal) -> None:
    assert read_goal(goal).macs == Bound(0.5, True)
    result = compressc.compress(network(), X, goal=goal, passes="magnitude", settings=QUICK)
    assert result.report.after.macs <= 0.5 * result.report.before.macs


def test_amounts_in_words() -> None:
    assert Goal(params="4M").params == Bound(4e6, False)
    assert Goal(size_bytes="4MiB").size_bytes == Bound(4 * 2**20, False)
    assert Goal(flops="2G").macs == Bound(1e9, False)
    assert replace(Goal(flops="2G"), seed=3) == Goal(macs=1e9, seed=3)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda: Goal(macs=[0.5]), "not a number"),
        (lambda: Goal(macs=True), "not a number"),
        (lambda: Goal(macs=0.5, flops=0.5), "give one of them"),
        (lambda: Goal(params="half"), "not a number"),
        (lambda: read_goal(None), r"give Goal\(macs=0.5\)"),
        (lambda: read_goal({"macs": 0.5}), r"give Goal\(macs=0.5\)"),
    ],
)
def test_goals_that_make_no_sense_are_one_line(write, text: str) -> None:
    with pytest.raises(GoalError, match=text) as caught:
        write()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "passes", ["magnitude", Magnitude(), ["magnitude"], (Magnitude(),), iter([Magnitude()])]
)
def test_one_pass_or_several(passes) -> None:
    job = compressc.Job(network(), Goal(macs=0.5), (X,), passes)
    assert job.chosen_passes == (Magnitude(),)


@pytest.mark.parametrize("passes", [Magnitude, 3, [None], lambda program: program, Pass])
def test_what_is_no_pass_is_told(passes) -> None:
    with pytest.raises(CompresscError, match=r"is no pass|is the class of a pass"):
        compressc.Job(network(), Goal(macs=0.5), (X,), passes)


def test_a_pattern_is_not_a_list_of_letters() -> None:
    assert Constraints(keep="b3.*").keep == ("b3.*",)
    assert Constraints(keep=["a", "b"]).keep == ("a", "b")
    with pytest.raises(GoalError, match="layer4"):
        Constraints(keep=[3])


@pytest.fixture(scope="module")
def result() -> compressc.Result:
    return compressc.compress(
        network(), X, goal=0.5, passes="magnitude", settings=QUICK, name="small <net>"
    )


def test_short_forms_fit_on_a_line(result) -> None:
    for value in (result, result.report, result.program):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 150
    assert "verified" in repr(result)
    assert "% of the MACs" in repr(result.report)
    assert "Nx3x8x8" in repr(result.program)


def test_a_printed_report_is_the_table(result, capsys) -> None:
    from compressc.reporting.table import print_report

    print_report(result.report)
    assert str(result.report) == capsys.readouterr().out.rstrip("\n")
    assert "MACs" in str(result.report)


def test_a_notebook_gets_the_table(result) -> None:
    page = result._repr_html_()
    assert page.count("<table>") == 1
    assert "small &lt;net&gt;" in page
    assert "MACs" in page


def test_a_terminal_gets_a_bar_by_itself(monkeypatch, capsys) -> None:
    import sys

    compressc.compress(network(), X, goal=0.5, passes="magnitude", settings=QUICK)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    compressc.compress(network(), X, goal=0.5, passes="magnitude", settings=QUICK)
    assert capsys.readouterr().err != ""


def test_own_training_goes_on_from_the_result(result, tmp_path) -> None:
    model = result.program.module().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()
    trained = result.with_state(model.state_dict())
    trained.export(tmp_path / "small.onnx")
    session = __import__("onnxruntime").InferenceSession(str(tmp_path / "small.onnx"))
    got = session.run(None, {session.get_inputs()[0].name: X.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), model.eval()(X), rtol=1e-3, atol=1e-4)
