"""Distillation: the teacher's words count."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.errors import GoalError, PlanError
from compressc.passes.distill import Distill
from compressc.passes.training.objectives import soften_and_compare
from compressc.program import Program
from compressc.tasks.loaders import LoaderTask, mean_of
from tests.passes.training_kit import differ, make_context, make_program, make_task, quick


def distill(**changes) -> Distill:
    return Distill(**{"epochs": 6, "learning_rate": 0.1, "precision": "float32", **changes})


@pytest.fixture(scope="module")
def teacher() -> Program:
    return quick(epochs=10)(make_program(), make_context())


def test_it_is_a_registered_pass_that_wants_a_lowered_program():
    one = find_pass("distill")()
    assert isinstance(one, Pass)
    assert one.declares.runs_on == "lowered"


def test_the_pupil_learns_from_the_teacher_alone(teacher):
    task = make_task()

    class Unlabelled(type(task)):
        def loss(self, outputs, targets):
            raise AssertionError("all of the weight is the teacher's")

    blind = Unlabelled(**{field.name: getattr(task, field.name) for field in fields(task)})
    pupil = make_program(seed=1)
    before = task.validate(pupil.module())
    context = make_context(task=blind, original=teacher)
    trained = distill(teacher_weight=1.0)(pupil, context)
    assert task.validate(trained.module()) >= before + 30


def test_the_teacher_stays_as_it_is_and_decides_the_result(teacher):
    state = {name: tensor.clone() for name, tensor in teacher.state().items()}
    pupil = make_program(seed=1)
    one = distill(epochs=1)(pupil, make_context(original=teacher))
    other = distill(epochs=1)(pupil, make_context(original=make_program(seed=2)))
    assert differ(one, other)
    for name, tensor in teacher.state().items():
        assert torch.equal(tensor, state[name])


def test_another_teacher_or_temperature_is_another_run(teacher, tmp_path):
    pupil = make_program(seed=1)
    context = make_context(tmp_path, original=teacher)
    distill(epochs=1)(pupil, context)
    distill(epochs=1, temperature=2.0)(pupil, context)
    distill(epochs=1)(pupil, replace(context, original=make_program(seed=2)))
    assert len(list(tmp_path.glob("distill-*.state"))) == 3


def test_logits_are_compared_as_hinton_does():
    generator = torch.Generator().manual_seed(0)
    outputs, wanted = torch.randn(2, 5, 7, generator=generator)
    temperature = 3.0
    soft = F.softmax(wanted / temperature, 1)
    entropy = -(soft * soft.log()).sum(1)
    crossed = -(soft * F.log_softmax(outputs / temperature, 1)).sum(1)
    expected = (crossed - entropy).mean() * temperature**2
    assert torch.allclose(soften_and_compare(outputs, wanted, temperature), expected)
    assert soften_and_compare(wanted, wanted, temperature).abs() < 1e-6


def test_other_outputs_are_compared_by_mean_squared_error():
    one, other = torch.randn(2, 3, 4, 4, 4)
    assert torch.equal(soften_and_compare(one, other, 4.0), F.mse_loss(one, other))
    pair, wanted = {"a": one, "b": other}, {"a": other, "b": other}
    assert torch.equal(soften_and_compare(pair, wanted, 4.0), F.mse_loss(one, other) / 2)
    column = torch.randn(2, 5, 1)
    assert torch.equal(soften_and_compare(*column, 4.0), F.mse_loss(*column))


def test_a_network_without_logits_is_distilled():
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)))

    torch.manual_seed(0)
    images = torch.randn(64, 3, 6, 6)
    teacher, pupil = (
        compressc.capture(Dense().eval(), (torch.randn(2, 3, 6, 6),)) for _ in range(2)
    )
    with torch.no_grad():
        wanted = teacher.module()(images)
    batches = list(zip(images.split(16), wanted.split(16), strict=True))
    metric = mean_of(lambda outputs, target: -(outputs - target).square().mean((1, 2, 3)))
    task = LoaderTask(batches, batches, [], F.mse_loss, metric, "negative squared error")
    trained = distill(epochs=8, teacher_weight=1.0)(
        pupil, make_context(task=task, original=teacher)
    )
    assert task.validate(trained.module()) > 0.3 * task.validate(pupil.module())


def test_what_is_missing_or_wrong_is_named(teacher):
    with pytest.raises(PlanError, match="needs the uncompressed program"):
        distill()(make_program(), make_context())
    with pytest.raises(GoalError, match="temperature 0"):
        Distill(temperature=0.0)
    with pytest.raises(GoalError, match="use finetune"):
        Distill(teacher_weight=0.0)
    with pytest.raises(GoalError, match="epochs 0"):
        Distill(epochs=0)
