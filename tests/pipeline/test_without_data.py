"""Without data synthetic inputs repair, and the report says what is known of the accuracy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import compressc
from compressc.cli.compress import warn_if_dead
from compressc.errors import GoalError
from compressc.goal import Goal
from compressc.pipeline.job import Job
from compressc.reporting.page import render_page
from compressc.reporting.table import print_report
from compressc.settings import Int8, Repair, Settings
from tests.passes.training_kit import make_program, make_task, quick

QUICK = Settings(measure=False)


@pytest.fixture(scope="module")
def trained() -> compressc.Program:
    """A network that tells four textures apart."""
    context = compressc.Context(task=make_task())
    return quick(epochs=12)(make_program(), context)


def compress(program, **more):
    return compressc.compress(program, goal=Goal(macs=0.5), settings=QUICK, **more)


def test_the_default_recipe_repairs_on_inputs_made_from_the_network(trained):
    report = compress(trained).report
    assert [row.name for row in report.passes] == ["surgeon", "calibrate"]
    assert any("inputs were made from what 1 batch norms remember" in note for note in report.notes)
    assert "making synthetic inputs" in report.stage_seconds


def test_it_is_better_than_the_bare_cut_on_real_pictures(trained):
    task = make_task()
    accuracies = [
        task.evaluate(compress(trained, repair=repair).program.module()) for repair in (True, False)
    ]
    assert accuracies[0] > accuracies[1] + 5


def test_named_passes_get_no_synthetic_inputs_unasked_for(trained):
    report = compress(trained, passes="magnitude").report
    assert not any("no data" in note for note in report.notes)
    asked = compress(trained, passes=["magnitude", "calibrate"], repair=Repair("always")).report
    assert asked.accuracy.inputs_from == "synthetic inputs"


def test_a_bound_on_the_time_must_make_sense():
    with pytest.raises(GoalError, match="--no-repair"):
        Repair(seconds=0)


def test_steps_are_as_fine_as_with_data(monkeypatch, trained):
    monkeypatch.setattr("compressc.target.channel_multiple", lambda _machine: 16)
    assert compress(trained).report.multiple_of <= 4
    assert not Job(trained, Goal(macs=0.5), repair=Repair("never")).makes_samples


def test_a_measured_accuracy_is_told_as_such(trained):
    accuracy = compress(trained, task=make_task()).report.accuracy
    assert accuracy.is_measured
    assert accuracy.text.startswith("test accuracy [%] ")
    assert "measured; agrees with the original on" in accuracy.text


def test_without_labels_it_is_the_agreement_and_told_as_such(trained):
    result = compress(trained)
    accuracy = result.report.accuracy
    assert not accuracy.is_measured
    assert accuracy.text.startswith("not measured: agrees with the original on ")
    assert "synthetic inputs" in accuracy.text
    assert accuracy.text.endswith("give --data to know")
    metadata = {entry.key: entry.value for entry in result.onnx.metadata_props}
    assert metadata["compressc.accuracy"] == accuracy.text
    assert result.report.to_dict()["accuracy"]["is_measured"] is False
    assert "accuracy not measured" in render_page(result.report)


def test_a_dead_network_is_red_everywhere(trained, capsys):
    result = compress(trained, task=make_task())
    state = result.program.state()
    state["fc.weight"] = torch.zeros_like(state["fc.weight"])
    report = result.with_state(state).report
    assert report.accuracy.is_at_chance
    assert "AT CHANCE" in report.accuracy.text
    assert "accuracy at chance" in render_page(report)
    print_report(report)
    warn_if_dead(report, "small.onnx")
    said = capsys.readouterr()
    assert "AT CHANCE" in said.out
    assert said.err.startswith("compressc: warning: small.onnx does not do what the original does")


def test_another_storage_keeps_what_is_known(trained, tmp_path):
    result = compress(trained)
    result.export(tmp_path / "s.onnx", storage="compact")
    props = onnx.load(tmp_path / "s.onnx").metadata_props
    metadata = {entry.key: entry.value for entry in props}
    assert metadata["compressc.accuracy"] == result.report.accuracy.text


def test_outputs_that_cannot_be_compared_are_told_and_no_error(trained):
    class Choice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)

        def forward(self, x):
            return self.b(torch.relu(self.a(x))).mean((2, 3)).argmax(1)

    torch.manual_seed(0)
    program = compressc.capture(Choice().eval(), (torch.randn(2, 3, 8, 8),))
    accuracy = compress(program).report.accuracy
    assert accuracy.text.startswith("not measured (outputs are int64")
    assert not accuracy.is_at_chance


def test_int8_is_judged_against_the_original(trained):
    settings = Settings(measure=False, int8=Int8(force=True))
    result = compressc.compress(
        trained, goal=Goal(macs=0.5), task=make_task(), passes="magnitude", settings=settings
    )
    report = result.report
    assert report.int8.agreement > 0.8
    assert report.accuracy.agreement < report.int8.agreement


def test_inputs_that_int8_is_calibrated_on_repair_as_well(trained, tmp_path):
    path, few = tmp_path / "inputs.npz", tmp_path / "few.npz"
    inputs = torch.cat([batch[0] for batch in make_task().calibration_batches(80, 0)]).numpy()
    np.savez(path, x=inputs)
    np.savez(few, x=inputs[:20])

    def inputs_from(samples) -> str:
        settings = Settings(measure=False, int8=Int8(samples=samples, force=True))
        return compressc.compress(
            trained, goal=Goal(macs=0.5), settings=settings
        ).report.accuracy.inputs_from

    assert inputs_from(path) == "the inputs of inputs.npz"
    assert inputs_from(few) == "synthetic inputs"


def test_the_time_for_repair_is_shared_out(trained):
    report = compress(trained, repair=Repair(seconds=50)).report
    calibrate = report.passes[1]
    assert calibrate.settings["refine_seconds"] == pytest.approx(20)
    assert compress(trained).report.passes[1].settings["refine_seconds"] is None
