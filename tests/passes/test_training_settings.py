"""Settings, optimizers and learning rates."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from compressc.cli.parsing import field_options
from compressc.errors import GoalError
from compressc.passes.distill import Distill
from compressc.passes.finetune import Finetune
from compressc.passes.training.descent import Descent
from compressc.passes.training.optimization import make_optimizer, make_schedule
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"optimizer": "adam"}, "optimizer 'adam'.*sgd"),
        ({"schedule": "step"}, "schedule 'step'"),
        ({"precision": "float16"}, "precision 'float16'"),
        ({"learning_rate": 0.0}, "learning_rate 0"),
        ({"learning_rate": math.nan}, "learning_rate nan"),
        ({"weight_decay": -1.0}, "weight_decay -1"),
        ({"warmup": 1.0}, "warmup 1"),
        ({"ema": 1.0}, "ema 1"),
        ({"clip_norm": -1.0}, "clip_norm -1"),
        ({"momentum": 1.0}, "momentum 1"),
        ({"patience": -1}, "patience -1"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, word):
    with pytest.raises(GoalError, match=word):
        Finetune(**fields)


@pytest.mark.parametrize("pass_class", [Finetune, Distill])
def test_every_setting_is_an_option(pass_class):
    options = {option.field for option in field_options(pass_class)}
    assert options == {field.name for field in dataclasses.fields(pass_class)}
    documented = "".join(one.__doc__ or "" for one in pass_class.__mro__)
    for name in options:
        assert f"\n        {name}: " in documented


def test_biases_and_norms_do_not_decay():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = make_optimizer(module, TrainingSettings(weight_decay=0.1))
    decaying, free = optimizer.param_groups
    assert decaying["weight_decay"] == 0.1
    assert {p.dim() for p in decaying["params"]} == {2, 4}
    assert free["weight_decay"] == 0
    assert {p.dim() for p in free["params"]} == {1}
    assert len(decaying["params"]) + len(free["params"]) == len(list(module.parameters()))


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5])
def test_rates_rise_to_the_peak_and_fall_to_almost_nothing(schedule, steps, warmup):
    settings = TrainingSettings(learning_rate=0.5, schedule=schedule, warmup=warmup)
    optimizer = make_optimizer(nn.Linear(2, 2), settings)
    scheduler = make_schedule(optimizer, settings, steps)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    assert max(rates) <= 0.5 + 1e-9
    assert min(rates) >= 0
    if steps >= 10:
        assert max(rates) > 0.45
        assert rates[-1] < 0.05
        top = rates.index(max(rates))
        assert abs(top - warmup * steps) <= 1
        assert rates[top:] == sorted(rates[top:], reverse=True)


def test_on_a_plateau_the_rate_falls_to_a_third_after_two_epochs() -> None:
    settings = TrainingSettings(learning_rate=0.9, schedule="plateau", momentum=0.0)
    descent = Descent(nn.Linear(2, 2), settings, 100)
    rates = []
    for loss in (1.0, 0.5, 0.499, 0.6, 0.4, 0.4, 0.4):
        descent.step(torch.tensor(loss))
        descent.step(torch.tensor(loss))
        descent.end_epoch(Processes())
        rates.append(round(descent.rate, 6))
    # Half a percent better is not better.
    assert rates == [0.9, 0.9, 0.9, 0.3, 0.3, 0.3, 0.1]
    again = Descent(nn.Linear(2, 2), settings, 100)
    again.load(descent.state())
    assert again.rate == descent.rate


def test_momentum_is_nesterovs_or_none() -> None:
    for momentum in (0.0, 0.9):
        optimizer = make_optimizer(nn.Linear(2, 2), TrainingSettings(momentum=momentum))
        assert optimizer.defaults["momentum"] == momentum
        assert optimizer.defaults["nesterov"] == (momentum > 0)


def test_bfloat16_is_chosen_where_the_processor_is_fast_at_it(monkeypatch):
    from compressc.passes.training import precision

    class Machine:
        simd = ("avx2",)

    monkeypatch.setattr(precision, "describe_machine", Machine)
    cpu = torch.device("cpu")
    assert str(choose_precision("auto", cpu)) == "float32"
    for feature in ("amx_bf16", "avx512_bf16"):
        Machine.simd = ("avx2", feature)
        assert str(choose_precision("auto", cpu)) == "bfloat16"
        assert str(choose_precision("float32", cpu)) == "float32"
    with choose_precision("bfloat16", cpu).autocast():
        assert nn.Linear(2, 2)(torch.randn(1, 2)).dtype == torch.bfloat16
    with choose_precision("float32", cpu).autocast():
        assert nn.Linear(2, 2)(torch.randn(1, 2)).dtype == torch.float32
