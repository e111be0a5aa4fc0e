"""What torch keeps of graphs is bounded, and what lives still works."""

from __future__ import annotations

import linecache

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.graph_module import _loader

import compressc
from compressc.graphs import torch_caches
from compressc.graphs.trainable import share_module


def test_sources_of_old_modules_are_dropped_and_the_modules_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_caches, "MOST_SOURCES", 5)
    program = compressc.capture(nn.Linear(3, 2).eval(), (torch.randn(2, 3),))
    modules = [share_module(program.graph_module) for _ in range(20)]
    assert len(_loader.eval_cache) <= 6
    names = [module.forward.__code__.co_filename for module in modules]
    assert names[0] not in _loader.eval_cache
    assert names[0] not in linecache.cache
    assert names[-1] in _loader.eval_cache
    inputs = torch.randn(4, 3)
    assert torch.equal(modules[0](inputs), modules[-1](inputs))


def test_records_of_traced_operators_are_dropped_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_caches, "MOST_RECORDS", 0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    first = compressc.capture(model, (torch.randn(2, 3),))
    share_module(first.graph_module)
    assert not FakeTensorMode.cache
    again = compressc.capture(model, (torch.randn(2, 3),))
    assert str(again.graph_module.graph) == str(first.graph_module.graph)
