"""``program.module()`` trains like the model it was captured from, bit for bit."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressc.coupling.graph import couple
from compressc.frontend.tracing import capture
from compressc.graphs.trainable import ProgramModule, keep_batch_statistics_only
from compressc.lowering.lowered import lower
from compressc.proof.masking import masked
from tests.plans import random_plan
from tests.strategies import Recipe


class Trained(nn.Module):
    """Batch norms and dropouts in their spellings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8, momentum=0.3)
        self.sample_norm = nn.InstanceNorm2d(8, affine=True)
        self.untracked = nn.BatchNorm1d(8, track_running_stats=False)
        self.drop_maps = nn.Dropout2d(0.2)
        self.drop = nn.Dropout(0.4)
        self.alpha = nn.AlphaDropout(0.3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop_maps(torch.relu(self.norm(self.conv(x))))
        x = self.sample_norm(x).mean((2, 3)) + x.amax((2, 3))
        x = self.alpha(self.untracked(x))
        return self.head(F.dropout(self.drop(x), 0.1, self.training))


def _x() -> Tensor:
    return torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def model() -> Trained:
    torch.manual_seed(0)
    return Trained()


@pytest.fixture
def module(model: Trained) -> nn.Module:
    return capture(model, (_x(),)).module()


def _steps(module: nn.Module, count: int = 3) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(7)
    for _ in range(count):
        optimizer.zero_grad()
        output = module(_x())
        output.square().mean().backward()
        yield (
            output.detach(),
            {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None},
        )
        optimizer.step()


def test_training_equals_eager_training_bit_for_bit(model: Trained, module: nn.Module) -> None:
    model.train()
    module.train()
    for (output, gradients), (expected, wanted) in zip(
        list(_steps(module)), list(_steps(model)), strict=True
    ):
        assert torch.equal(output, expected)
        assert set(gradients) == set(wanted)
        assert all(torch.equal(gradients[name], wanted[name]) for name in wanted)
    for name in ("norm.running_mean", "norm.running_var"):
        assert torch.equal(module.state_dict()[name], model.state_dict()[name])
    model.eval()
    module.eval()
    assert torch.equal(module(_x()), model(_x()))


def test_the_mode_can_be_switched_back_and_forth(model: Trained, module: nn.Module) -> None:
    assert not module.training
    quiet = module(_x())
    assert torch.equal(module(_x()), quiet)
    module.train()
    assert not torch.equal(module(_x()), module(_x()))
    mean = module.state_dict()["norm.running_mean"].clone()
    module.eval()
    module(_x())
    assert torch.equal(module.state_dict()["norm.running_mean"], mean)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("how", ["deepcopy", "save"])
def test_copies_keep_the_mode_and_the_switch(module: nn.Module, how: str, training: bool) -> None:
    module.train(training)
    if how == "deepcopy":
        again = copy.deepcopy(module)
    else:
        buffer = io.BytesIO()
        torch.save(module, buffer)
        buffer.seek(0)
        again = torch.load(buffer, weights_only=False)
    assert isinstance(again, ProgramModule)
    assert again.training == training
    for mode in (True, False):
        again.train(mode)
        module.train(mode)
        torch.manual_seed(3)
        found = again(_x())
        torch.manual_seed(3)
        assert torch.equal(found, module(_x()))
    # A copy of its own: training it leaves the other alone.
    again.train()
    again(_x())
    assert not torch.equal(
        again.state_dict()["norm.running_mean"], module.state_dict()["norm.running_mean"]
    )


class Sampling(nn.Module):
    """Dropout that stays on in evaluation, as Monte Carlo dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 200)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.layer(x), 0.5, training=True)


def test_what_samples_in_evaluation_still_does() -> None:
    module = capture(Sampling(), (torch.randn(4, 6),)).module()
    x = torch.randn(4, 6)
    for mode in (False, True):
        module.train(mode)
        assert not torch.equal(module(x), module(x))


class Partly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(4, 2)
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.frozen(x)) * self.steps


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(6), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(x))


def test_training_can_mean_batch_statistics_alone() -> None:
    module = capture(Noisy().eval(), (torch.randn(4, 6),)).module()
    keep_batch_statistics_only(module)
    x = 3 + 2 * torch.randn(64, 6)
    before = {name: value.clone() for name, value in module.named_buffers()}
    expected = F.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(module.train()(x), expected)
    assert all(
        torch.equal(value, before[name])
        for name, value in module.named_buffers()
        if "num" not in name
    )
    torch.testing.assert_close(module.eval()(x), x, atol=1e-4, rtol=1e-4)


def test_every_float_parameter_can_be_trained() -> None:
    module = capture(Partly(), (torch.randn(3, 4),)).module()
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(module.get_buffer("steps"), torch.tensor(3))


def test_a_program_is_not_changed_by_training_its_module(model: Trained) -> None:
    program = capture(model, (_x(),))
    before = {name: value.clone() for name, value in program.state().items()}
    list(_steps(program.module().train()))
    assert all(torch.equal(value, before[name]) for name, value in program.state().items())


def test_gradients_of_the_lowered_model_are_those_of_the_masked_one() -> None:
    program = Recipe((("residual", 0), ("attention", 1), ("split", 0))).capture()
    chosen = program.with_plan(random_plan(couple(program), 0))
    reference, small = masked(chosen).double(), lower(chosen).module().double()
    kept = couple(chosen).view(chosen.plan)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for module in (reference, small):
        for parameter in module.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        module(x).square().mean().backward()
    full = dict(reference.named_parameters())
    for name, parameter in small.named_parameters():
        wanted = full[name].grad
        assert wanted is not None
        assert parameter.grad is not None
        for axis, channels in enumerate(couple(chosen).propagation.parameters[name]):
            index = torch.as_tensor(kept.mask(channels)).nonzero().reshape(-1)
            wanted = wanted.index_select(axis, index)
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-12)
