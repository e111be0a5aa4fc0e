from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.passes.unit_features.registry import measure_feature


def linear_pair() -> nn.Sequential:
    first, second = nn.Linear(2, 2), nn.Linear(2, 3)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 1.0]]))
        second.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 0.0], [-2.0, 6.0]]))
    return nn.Sequential(first, nn.ReLU(), second)


@pytest.mark.parametrize(
    ("norm", "produced", "consumed"), [("l1", [7, 1], [5, 6]), ("l2", [5, 1], [3, 6])]
)
def test_norms_of_produced_and_consumed_slices_are_averaged(norm, produced, consumed):
    program = compressc.capture(linear_pair(), (torch.randn(2, 2),))
    parts = [np.array(part) / np.mean(part) for part in (produced, consumed)]
    found = measure_feature(program, norm)["0"]
    assert found == pytest.approx(np.mean(parts, axis=0))


def test_biases_do_not_count():
    model = linear_pair()
    before = measure_feature(compressc.capture(model, (torch.randn(2, 2),)), "l2")
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([0.0, 100.0]))
    after = measure_feature(compressc.capture(model, (torch.randn(2, 2),)), "l2")
    assert after["0"] == pytest.approx(before["0"])


def test_every_group_has_mean_one(program_of, network):
    found = measure_feature(program_of(network), "l2")
    assert found
    for importance in found.values():
        assert importance.mean() == pytest.approx(1)
        assert importance.std() > 0


def test_running_statistics_do_not_count(program_of, altered):
    def scale(model: nn.Module) -> None:
        model.b[1].running_var *= torch.rand(64) + 0.5

    before = measure_feature(program_of("Plain"), "l2")
    after = measure_feature(altered("Plain", scale), "l2")
    for name, importance in before.items():
        assert after[name] == pytest.approx(importance)


def test_the_scale_of_a_batch_norm_counts(program_of, altered):
    def silence(model: nn.Module) -> None:
        model.b[1].weight[5] = 0.0

    before = measure_feature(program_of("Plain"), "l2")["b.0"]
    after = measure_feature(altered("Plain", silence), "l2")["b.0"]
    assert after[5] < 0.9 * before[5]
    assert (np.delete(after, 5) > np.delete(before, 5)).all()


def test_inputs_of_a_grouped_convolution_count_in_their_own_conv_group(program_of, altered):
    def raise_one(model: nn.Module) -> None:
        # Place 3 of conv group 1, whose outputs are rows 12 to 23, is input channel 8 + 3.
        model.a[0].weight[12:24, 3] *= 100

    before = measure_feature(program_of("Grouped"), "l2")["stem.0"]
    after = measure_feature(altered("Grouped", raise_one), "l2")["stem.0"]
    assert np.argmax(after / before) == 11
    assert (np.delete(after / before, 11) < 1).all()


def test_a_group_of_zeros_has_no_importance():
    model = linear_pair()
    with torch.no_grad():
        model[0].weight.zero_()
        model[2].weight.zero_()
    found = measure_feature(compressc.capture(model, (torch.randn(2, 2),)), "l1")
    assert found["0"].tolist() == [0.0, 0.0]


def test_the_mean_square_is_over_all_weights_of_a_unit():
    program = compressc.capture(linear_pair(), (torch.randn(2, 2),))
    # Unit 0: 3, -4 and 1, 2, -2; unit 1: 0, 1 and 0, 0, 6.
    assert measure_feature(program, "mean-square")["0"] == pytest.approx([34 / 5, 37 / 5])


def test_the_mean_square_counts_every_tap_and_conv_group(program_of):
    program = program_of("Grouped")
    weights = {name: tensor.double() for name, tensor in program.state().items()}
    grouped, head = weights["b.0.weight"], weights["fc.weight"]
    # 32 filters over the channels of their conv group, and a batch norm's scale.
    scale = weights["b.1.weight"]
    squares = grouped.square().sum((1, 2, 3)) + scale.square() + head.square().sum(0)
    count = grouped[0].numel() + 1 + len(head)
    found = measure_feature(program, "mean-square")["b.0"]
    assert found == pytest.approx((squares / count).numpy())
    # 48 channels read by b, each by the 8 filters of its conv group.
    produced, norm = weights["a.0.weight"], weights["a.1.weight"]
    group, place = np.divmod(np.arange(48), 12)
    # The shuffle deals the channels out: position (place, group) of 12 x 4.
    read = grouped.view(4, 8, 12, 9)
    shuffled = place * 4 + group
    squares = produced.square().sum((1, 2, 3)) + norm.square()
    squares += read[shuffled // 12, :, shuffled % 12].square().sum((1, 2))
    count = produced[0].numel() + 1 + 8 * 9
    found = measure_feature(program, "mean-square")["a.0"]
    assert found == pytest.approx((squares / count).numpy())
