"""Unit features: each against values worked out by hand, and the registry that has them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.coupling.graph import couple
from compressc.errors import FeatureError
from compressc.passes.unit_features.activation_gradients import measure_gradients
from compressc.passes.unit_features.activation_sizes import measure_activations
from compressc.passes.unit_features.registry import FEATURES, measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.program import Program
from tests.plans import random_plan
from tests.search_kit import trained


class Pair(nn.Module):
    """Two hidden units: h = relu(W x + b), y = V h."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -1.0]]))
            self.first.bias.copy_(torch.tensor([0.0, 1.0]))
            self.second.weight.copy_(torch.tensor([[2.0, -3.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class HalfSquares:
    """The loss y**2 / 2, summed: its gradient at h is y V."""

    def loss(self, outputs: Tensor, _targets: object) -> Tensor:
        return outputs.square().sum() / 2


def pair() -> Program:
    return compressc.capture(Pair().eval(), (torch.randn(2, 2),))


# h is (1, 0), (0, 0), (2, 4), and y is 2, 0, -8.
INPUTS = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [2.0, -1.0]])


def test_sizes_and_zeros_of_activations_are_those_worked_out_by_hand():
    activations = measure_activations(pair(), [(INPUTS[:1],), (INPUTS[1:],)])
    assert activations.mean_size["first"] == pytest.approx([3 / 3, 4 / 3])
    assert activations.zero_share["first"] == pytest.approx([1 / 3, 2 / 3])


def test_gradients_are_those_worked_out_by_hand():
    batches = [((INPUTS[:1],), None), ((INPUTS[1:],), None)]
    gradients = measure_gradients(pair(), HalfSquares(), batches)
    # At h they are y V: (4, -6), (0, 0), (-16, 24).
    sizes = np.array([20.0, 30.0])
    assert gradients.relative_size["first"] == pytest.approx(sizes / sizes.mean())
    # |h g| is (4, 0), (0, 0), (32, 96).
    assert gradients.taylor["first"] == pytest.approx([36 / 3, 96 / 3])


class Space(nn.Module):
    """A convolution whose channels two ReLUs carry, one of them behind a pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 1), nn.Linear(2, 3)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        return self.fc(torch.relu(x.mean((2, 3)) - 1.0))


def test_positions_and_places_count_alike():
    program = compressc.capture(Space().eval(), (torch.randn(2, 1, 2, 2),))
    x = torch.tensor([[[[1.0, 2.0], [-3.0, 5.0]]]])
    activations = measure_activations(program, [(x,)])
    # Channel 0 is 1, 2, 0, 5, its mean less 1 is 1; channel 1 is 0, 0, 3, 0, and 0 behind.
    assert activations.mean_size["conv"] == pytest.approx([9 / 5, 3 / 5])
    assert activations.zero_share["conv"] == pytest.approx([1 / 5, 4 / 5])


def test_activations_of_the_small_network_agree_with_torch():
    program, task = trained()
    state = program.state()
    (x,), _ = next(iter(task.train_batches(0, 0)))

    def norm(values: Tensor, name: str) -> Tensor:
        part = [state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var")]
        affine = [state[f"{name}.{leaf}"] for leaf in ("weight", "bias")]
        return nn.functional.batch_norm(values, *part, *affine)

    with torch.no_grad():
        conv = nn.functional.conv2d(x, state["stem.weight"], state["stem.bias"], padding=1)
        stem = torch.relu(norm(conv, "norm"))
        conv = nn.functional.conv2d(stem, state["a.weight"], state["a.bias"], padding=1)
        inner = torch.relu(norm(conv, "norm_a"))
    activations = measure_activations(program, [(x,)])
    expected = inner.mean((0, 2, 3)).double().numpy()
    assert activations.mean_size["a"] == pytest.approx(expected, rel=1e-4)
    expected = (inner == 0).double().mean((0, 2, 3)).numpy()
    assert activations.zero_share["a"] == pytest.approx(expected, abs=1e-3)
    assert 0.05 < expected.mean() < 0.95


def samples(count: int = 128, seed: int = 0) -> UnitSamples:
    return UnitSamples(trained()[1], count, seed, "test")


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_every_feature_has_a_finite_number_for_every_unit_that_may_leave(name):
    program, _ = trained()
    values = measure_feature(program, name, samples())
    free = [group for group in couple(program).groups if group.pinned is None]
    assert set(values) == {group.name for group in free}
    for group in free:
        assert values[group.name].shape == (group.size,)
        assert values[group.name].dtype == np.float64
        assert np.isfinite(values[group.name]).all()
        assert (values[group.name] >= 0).all()


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_a_feature_is_measured_once_per_program_and_samples_whatever_the_plan(name, monkeypatch):
    captured, _ = trained()
    program = captured.with_constraints(captured.constraints)
    first = measure_feature(program, name, samples(96))
    planned = program.with_plan(random_plan(couple(program), 0))
    runs = []
    monkeypatch.setattr(type(program), "module", lambda _: runs.append(1))
    monkeypatch.setattr(
        "compressc.passes.unit_features.registry.measure_unit_errors", lambda *_: runs.append(1)
    )
    again = measure_feature(planned, name, samples(96))
    assert runs == []
    assert all(again[group] is first[group] for group in first)


def test_other_samples_give_other_numbers():
    program, _ = trained()
    for name, feature in FEATURES.items():
        if feature.needs_samples:
            first, other = (measure_feature(program, name, samples(64, seed)) for seed in (0, 1))
            assert any((first[group] != other[group]).any() for group in first), name


def test_what_a_feature_lacks_is_said():
    program, _ = trained()
    with pytest.raises(FeatureError, match="'apoz' is measured on samples"):
        measure_feature(program, "apoz")
    with pytest.raises(FeatureError, match="no unit feature is called 'beauty'; known: l1"):
        measure_feature(program, "beauty")


def test_labelled_samples_end_with_the_batch_that_has_enough():
    counts = [len(inputs[0]) for inputs, _ in samples(100).labelled()]
    assert counts == [64, 64]
    assert sum(len(inputs[0]) for inputs in samples(100).unlabelled()) == 100
