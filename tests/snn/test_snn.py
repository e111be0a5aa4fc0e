"""The pass as users run it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.coupling.graph import cost_of, couple
from compressc.coupling.weight_masks import staying_weights
from compressc.errors import DataError, GoalError, PlanError
from compressc.passes.finetune import Finetune
from compressc.passes.snn.settings import SnnSettings
from compressc.passes.snn.switching import Snn
from compressc.plan import Plan
from compressc.program import Program
from compressc.store.program_record import apply_change, describe_change
from compressc.store.records import Record
from compressc.tasks.loaders import LoaderTask
from tests.passes.training_kit import assert_same_weights
from tests.snn.snn_kit import make_context, make_program, make_task, quick
from tests.snn.test_switched_layers import Shared


def accuracy(program: Program) -> float:
    return make_task().evaluate(compressc.lower(program).module())


@pytest.mark.parametrize("mode", ["connection", "neuron"])
@pytest.mark.parametrize("from_scratch", [False, True])
def test_it_learns_the_task(mode: str, from_scratch: bool) -> None:
    method = quick(
        epochs=30,
        mode=mode,
        from_scratch=from_scratch,
        sparsity=0.0,
        schedule="cosine",
        warmup=0.0,
        momentum=0.9,
    )
    result = method(make_program(), make_context())
    assert accuracy(make_program()) < 40
    assert accuracy(result) > 85
    # The file is that of an ordinary network: no switcher in it.
    lowered = compressc.lower(result)
    assert set(lowered.state()) == set(make_program().state())


def test_a_sparsity_is_met_and_what_is_off_stays_off() -> None:
    method = quick(epochs=12, sparsity=0.7)
    result = method(make_program(), make_context())
    weights = [result.state()[name] for name in ("fc1.weight", "fc2.weight", "fc3.weight")]
    zeros = sum(int((each == 0).sum()) for each in weights)
    assert zeros >= 0.7 * sum(each.numel() for each in weights)
    lowered = compressc.lower(result)
    tuned = Finetune(epochs=2, precision="float32")(lowered, make_context())
    for name in lowered.sparse_weights:
        still = lowered.state()[name] == 0
        assert torch.equal(tuned.state()[name] == 0, still)
        assert still.any()
    assert "swept to a sparsity of 0.7" in " ".join(result.history[-1].notes)


@pytest.mark.parametrize("mode", ["connection", "neuron"])
def test_a_goal_in_parameters_is_met(mode: str) -> None:
    result = quick(epochs=6, mode=mode)(make_program(), make_context(params=0.5))
    assert cost_of(result).params <= 0.5 * cost_of(make_program()).params
    assert cost_of(compressc.lower(result)).params == cost_of(result).params
    assert "goal in parameters" in " ".join(result.history[-1].notes)


def test_a_goal_that_is_out_of_reach_is_refused_before_training() -> None:
    task = replace(make_task(), train=[])
    with pytest.raises(GoalError, match=r"params target 0\.01 cannot be reached.*--sparsity"):
        quick()(make_program(), replace(make_context(params=0.01), task=task))


@pytest.mark.parametrize("epochs_done", [1, 2, 3])
def test_a_run_that_was_cut_off_goes_on_to_the_same_result(
    tmp_path: Path, epochs_done: int
) -> None:
    method = quick(sparsity=0.5)
    whole = method(make_program(), make_context())

    class CutOffError(Exception):
        pass

    def stop(done: int, _total: int, _text: str) -> None:
        if done > 8 * epochs_done:
            raise CutOffError

    with pytest.raises(CutOffError):
        method(make_program(), replace(make_context(tmp_path), progress=stop))
    seen: list[int] = []
    resumed = replace(make_context(tmp_path), progress=lambda done, *_: seen.append(done))
    again = method(make_program(), resumed)
    assert min(seen) > 8 * epochs_done
    assert_same_weights(again, whole)
    assert again.plan.digest == whole.plan.digest
    assert again.history[-1].pictures == whole.history[-1].pictures


def test_another_seed_gives_another_result() -> None:
    first = quick()(make_program(), make_context(seed=0))
    second = quick()(make_program(), make_context(seed=1))
    assert first.plan.digest != second.plan.digest


def test_zeros_that_were_there_stay() -> None:
    zero = np.arange(320).reshape(16, 20) % 2 == 0
    sparse = compressc.lower(make_program().with_plan(Plan(zero={"fc2.weight": zero})))
    result = quick()(sparse, make_context())
    assert (result.state()["fc2.weight"][torch.from_numpy(~zero)] == 0).all()
    name = "fc2.weight"
    stays = staying_weights(couple(result), result.plan, [name])[name]
    assert not (result.plan.zero[name] & stays)[~zero].any()
    assert name in compressc.lower(result).sparse_weights


def test_pending_decisions_are_refused() -> None:
    keep = {"fc1": np.arange(20) > 3}
    with pytest.raises(PlanError, match="snn trains the network as it is"):
        quick()(make_program().with_plan(Plan(keep=keep)), make_context())


def test_a_shared_layer_is_switched_in_both_places() -> None:
    program = make_program(Shared)
    result = quick(sparsity=0.5)(program, make_context())
    assert not result.plan.zero["square.weight"].all()
    x = torch.randn(4, 12)
    proof = compressc.lower(result).module()(x) - compressc.masked(result)(x)
    assert proof.abs().max() < 1e-5


class NanLoss(LoaderTask):
    """Its loss is no number from the third epoch on."""

    calls = 0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        NanLoss.calls += 1
        return super().loss(outputs, targets) * (math.nan if NanLoss.calls > 16 else 1.0)


@pytest.mark.parametrize(("good", "epoch"), [(16, 2), (0, 0)])
def test_a_loss_that_is_no_number_stops_training(good: int, epoch: int) -> None:
    NanLoss.calls = 16 - good
    task = make_task()
    broken = NanLoss(
        task.train, task.val, task.test, task.loss_function, task.metric, task.metric_name
    )
    result = quick(sparsity=0.0)(make_program(), replace(make_context(), task=broken))
    said = " ".join(result.history[-1].notes)
    assert "training stopped: the loss became nan" in said
    assert all(torch.isfinite(each).all() for each in result.state().values())
    if epoch == 0:
        assert "nothing was learned" in said
        assert_same_weights(result, make_program())
    else:
        assert "up to epoch 2" in said


def test_the_first_factors_do_not_depend_on_what_ran_before() -> None:
    torch.manual_seed(1)
    first = quick(epochs=1)(make_program(), make_context())
    torch.manual_seed(2)
    assert_same_weights(quick(epochs=1)(make_program(), make_context()), first)


def test_a_matrix_that_does_not_fit_the_memory_is_named() -> None:
    with pytest.raises(PlanError, match=r"fc1 is a matrix of 12 x 20.*memory-mb"):
        quick(memory_mb=0.01)(make_program(), make_context())


def test_small_memory_gives_the_same_factors() -> None:
    whole = quick(epochs=1)(make_program(), make_context())
    # Eleven rows of fc1 at once: two with those around them.
    blocks = quick(epochs=1, memory_mb=0.1)(make_program(), make_context())
    for name, each in whole.state().items():
        torch.testing.assert_close(blocks.state()[name], each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mode": "weight"}, "mode 'weight'"),
        ({"layers": "linear"}, "layers 'linear'"),
        ({"sparsity": 1.0}, "sparsity 1"),
        ({"switch_every": 0}, "switch_every 0"),
        ({"batch": 0}, "batch 0"),
        ({"memory_mb": 0.0}, "memory_mb 0"),
        ({"ema": 0.9}, "keeps its last epoch"),
        ({"epochs": 0}, "epochs 0"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict, word: str) -> None:
    with pytest.raises(GoalError, match=word):
        Snn(**fields)


def test_every_setting_is_explained() -> None:
    documented = (SnnSettings.__doc__ or "") + "".join(one.__doc__ or "" for one in Snn.__mro__)
    for name in ("mode", "layers", "from_scratch", "sparsity", "switch_every", "memory_mb"):
        assert f"\n        {name}: " in documented


def test_no_data_is_one_line() -> None:
    with pytest.raises(DataError, match="snn needs data"):
        quick()(make_program(), replace(make_context(), task=None))


def test_pictures_survive_the_store() -> None:
    program = make_program()
    result = quick()(program, make_context())
    pictures = result.history[-1].pictures
    assert [picture.layer for picture in pictures] == ["fc1", "fc2", "fc3"]
    assert [len(picture.levels) for picture in pictures] == [4, 4, 4]
    record = Record.from_bytes(describe_change(program, result).to_bytes())
    assert apply_change(program, record).history[-1].pictures == pictures


def test_pictures_say_what_is_off() -> None:
    result = quick(sparsity=0.5)(make_program(), make_context())
    for picture in result.history[-1].pictures:
        weight = result.state()[f"{picture.layer}.weight"]
        share = float((weight == 0).float().mean())
        cells = [cell for row in picture.zeros for cell in row]
        assert len(cells) == picture.rows * picture.columns
        assert sum(cells) / len(cells) == pytest.approx(picture.levels[-1][0], abs=2e-3)
        # What feeds a neuron that nothing reads is zero as well; nothing reads the last layer.
        assert picture.levels[-1][0] <= share + 2e-3
    assert picture.layer == "fc3"
    assert picture.levels[-1][0] == pytest.approx(share, abs=2e-3)


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(self.fc1(x)).relu()) * self.scale


def test_what_cannot_be_drawn_anew_is_refused() -> None:
    with pytest.raises(PlanError, match=r"scale is read by no layer or norm"):
        quick(from_scratch=True)(make_program(Norms), make_context())
