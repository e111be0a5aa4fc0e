from __future__ import annotations

import pytest
import torch
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.goal import Goal
from compressc.passes.magnitude import Magnitude
from compressc.passes.widths.traffic import measure_intensity


def intensity(*layers: nn.Module, batch: int = 2) -> dict[str, float]:
    model = nn.Sequential(*layers).eval()
    return measure_intensity(compressc.capture(model, (torch.randn(batch, 3, 16, 16),)))


def test_every_free_group_has_one_within_limits(program_of, network):
    program = program_of(network)
    found = measure_intensity(program)
    assert set(found) == {group.name for group in couple(program).groups if not group.pinned}
    assert all(0.5 <= value <= 2 for value in found.values())


def test_depthwise_channels_cost_more_time_than_their_macs_say():
    found = intensity(
        nn.Conv2d(3, 32, 1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(32, 64, 1),
        nn.Conv2d(64, 64, 1),
        nn.Conv2d(64, 10, 1),
    )
    assert found["0"] > 1.1 * found["2"]


def test_what_is_fused_into_a_product_costs_nothing():
    convolutions = [nn.Conv2d(3, 32, 3), nn.Conv2d(32, 48, 3), nn.Conv2d(48, 10, 3)]
    plain = intensity(*convolutions)
    a, b, c = convolutions
    fused = intensity(a, nn.BatchNorm2d(32), nn.ReLU(), b, nn.ReLU6(), c)
    assert fused["0"] == pytest.approx(plain["0"])
    assert fused["3"] == pytest.approx(plain["1"])


def test_what_is_not_fused_costs_traffic():
    a, b, c = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 10, 3)
    plain = intensity(a, b, c)
    pooled = intensity(a, nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), b, c)
    assert pooled["0"] / pooled["3"] > plain["0"] / plain["1"]


def test_it_does_not_depend_on_the_example_batch():
    layers = (nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 10, 3))
    assert intensity(*layers, batch=2) == pytest.approx(intensity(*layers, batch=5))


def test_memory_bound_groups_give_up_more_in_a_uniform_plan():
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, groups=64)]
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(2), nn.Flatten(1)).eval()
    program = compressc.capture(model, (torch.randn(2, 3, 16, 16),))
    keep = Magnitude()(program, Context(Goal(macs=0.5))).plan.keep
    assert keep["0"].mean() < keep["2"].mean()
