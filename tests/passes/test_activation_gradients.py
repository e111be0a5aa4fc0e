"""Features of units by the gradients at their activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.coupling.graph import couple
from compressc.models.lenet import LeNet5
from compressc.passes.unit_features.activation_gradients import measure_gradients
from compressc.plan import Plan
from tests.plans import random_plan
from tests.search_kit import trained


def batches(count: int = 2):
    _, task = trained()
    return list(task.train_batches(0, 0))[:count]


def by_hand() -> dict[str, torch.Tensor]:
    """Return the sums of absolute gradients at the ReLUs of the small network."""
    program, task = trained()
    state = program.state()

    def norm(x, name):
        part = [state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var")]
        affine = [state[f"{name}.{leaf}"] for leaf in ("weight", "bias")]
        return nn.functional.batch_norm(x, *part, *affine)

    def conv(x, name):
        return nn.functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    totals: dict[str, torch.Tensor] = {}
    for (x,), labels in batches():
        x = x.clone().requires_grad_(True)
        stem = torch.relu(norm(conv(x, "stem"), "norm"))
        inner = torch.relu(norm(conv(stem, "a"), "norm_a"))
        joined = torch.relu(stem + norm(conv(inner, "b"), "norm_b"))
        wide = torch.relu(
            nn.functional.linear(joined.mean((2, 3)), state["wide.weight"], state["wide.bias"])
        )
        loss = task.loss(nn.functional.linear(wide, state["fc.weight"], state["fc.bias"]), labels)
        found = torch.autograd.grad(loss, [stem, joined, inner, wide])
        sums = [g.abs().sum([0, 2, 3]) if g.dim() == 4 else g.abs().sum(0) for g in found]
        for name, value in (("stem", sums[0] + sums[1]), ("a", sums[2]), ("wide", sums[3])):
            totals[name] = totals.get(name, 0) + value
    return totals


def test_it_is_the_sum_of_absolute_gradients_at_the_relus():
    program, task = trained()
    found = measure_gradients(program, task, batches()).relative_size
    by_name = by_hand()
    assert set(found) == set(by_name)
    for name, values in found.items():
        expected = by_name[name].double().numpy()
        np.testing.assert_allclose(values, expected / expected.mean(), rtol=1e-3)


def test_a_pending_plan_and_the_weights_do_not_matter_to_it():
    program, task = trained()
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    plain = measure_gradients(program, task, batches()).relative_size
    planned = program.with_plan(random_plan(couple(program), 0))
    again = measure_gradients(planned, task, batches()).relative_size
    assert all(np.array_equal(plain[name], again[name]) for name in plain)
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())
    assert all(tensor.grad is None for tensor in program.graph_module.parameters())


def test_groups_without_a_relu_are_judged_at_their_layers():
    torch.manual_seed(0)
    model = LeNet5(conv_relu=False).eval()
    with torch.no_grad():
        model.conv2.weight[:, 7] = 0.0  # nothing reads channel 7 of conv1
    program = compressc.capture(model, (torch.randn(2, 1, 28, 28),))

    class Digits:
        def loss(self, outputs, targets):
            return nn.functional.cross_entropy(outputs, targets)

    batch = ((torch.randn(8, 1, 28, 28),), torch.randint(10, (8,)))
    found = measure_gradients(program, Digits(), [batch]).relative_size
    assert set(found) == {"conv1", "conv2", "fc1"}
    assert np.flatnonzero(found["conv1"] == 0).tolist() == [7]
    assert all(values.mean() == pytest.approx(1) for values in found.values())


def test_no_batches_make_all_units_alike():
    program, task = trained()
    found = measure_gradients(program.with_plan(Plan()), task, []).relative_size
    assert all((values == 1).all() for values in found.values())
