"""Small networks, one for each way in which channels are coupled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.program import Constraints, Program


def _conv(inputs: int, outputs: int, size: int = 3, conv_groups: int = 1) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=conv_groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = _conv(3, 32), _conv(32, 64)
        self.c, self.fc = _conv(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(self.b(self.a(x))).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = _conv(3, 32), _conv(32, 48), _conv(48, 32)
        self.c, self.d, self.fc = _conv(32, 64), _conv(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.b(self.a(x))
        x = x + self.d(self.c(x))
        return self.fc(x.mean((2, 3)))


class Padded(nn.Module):
    """A shortcut that adds zero channels, as ResNets for CIFAR do (option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = _conv(3, 16), _conv(16, 32), _conv(32, 32)
        self.c, self.d, self.fc = _conv(32, 32), _conv(32, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.pad(x, (0, 0, 0, 0, 8, 8)) + self.b(self.a(x))
        x = F.pad(x, (0, 0, 0, 0, 16, 16)) + self.d(self.c(x))
        return self.fc(x.mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = _conv(3, 32), _conv(32, 32, conv_groups=32), _conv(32, 64, 1)
        self.c, self.d, self.fc = _conv(64, 64, conv_groups=64), _conv(64, 96, 1), nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.d(self.c(self.b(self.a(self.stem(x))))).mean((2, 3)))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = _conv(3, 32), _conv(32, 32), _conv(64, 32)
        self.fc = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.a(x)], 1)
        return self.fc(torch.cat([x, self.b(x)], 1).mean((2, 3)))


class Grouped(nn.Module):
    """Two grouped convolutions with a channel shuffle between them: two partitions at once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = _conv(3, 32), _conv(32, 48, conv_groups=4)
        self.b, self.fc = _conv(48, 32, conv_groups=4), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.stem(x))
        x = x.unflatten(1, (4, 12)).transpose(1, 2).flatten(1, 2)
        return self.fc(self.b(x).mean((2, 3)))


NETWORKS = {
    found.__name__: found for found in (Plain, Residual, Padded, Depthwise, Concat, Grouped)
}
ProgramOf = Callable[..., Program]


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def capture(model: nn.Module) -> Program:
    return compressc.capture(model, (torch.randn(2, 3, 8, 8),))


@cache
def _captured(name: str) -> Program:
    return capture(make_model(name))


@pytest.fixture
def altered() -> Callable[..., Program]:
    """Return a function from a name and a change to the model to the changed model's program."""

    def build(name: str, change: Callable[[nn.Module], None]) -> Program:
        model = make_model(name)
        with torch.no_grad():
            change(model)
        return capture(model)

    return build


@pytest.fixture
def program_of() -> ProgramOf:
    """Return a function from a network's name and constraints to its program."""

    def build(name: str, multiple_of: int = 1, keep: tuple[str, ...] = ()) -> Program:
        return _captured(name).with_constraints(Constraints(keep=keep, multiple_of=multiple_of))

    return build


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> str:
    """The name of each network in turn."""
    return str(request.param)
