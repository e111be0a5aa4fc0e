"""A tiny model handed over the way users do: a state_dict and code in the current folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from compressc.cli.main import main

FACTORY = """
from torch import nn


def build(num_classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )
"""

Outcome = tuple[int, str, str]
Cli = Callable[..., Outcome]


def build_tiny() -> nn.Module:
    namespace: dict[str, object] = {}
    exec(FACTORY, namespace)
    torch.manual_seed(0)
    module = namespace["build"]()  # type: ignore[operator]
    assert isinstance(module, nn.Module)
    return module


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with ``tiny.pt`` and the module ``tinynets`` that builds it."""
    (tmp_path / "tinynets.py").write_text(FACTORY)
    torch.save(build_tiny().state_dict(), tmp_path / "tiny.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tinynets", raising=False)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


TINY = ("tiny.pt", "--arch", "tinynets:build", "--input-shape", "3,8,8")
