"""The original is exported once, whatever is decided or forbidden in the meantime."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import compressc
from compressc.backend import onnx_export
from compressc.backend.onnx_export import export_whole
from compressc.coupling.graph import couple
from compressc.plan import Plan
from compressc.program import Constraints


def test_plans_and_constraints_share_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    program = compressc.capture(net, (torch.randn(2, 4),))
    made, original = [], onnx_export.export_onnx
    monkeypatch.setattr(
        onnx_export, "export_onnx", lambda each: (made.append(each), original(each))[1]
    )
    whole = export_whole(program)
    stepped = program.with_constraints(Constraints(multiple_of=2))
    group = next(group for group in couple(stepped).groups if group.pinned is None)
    keep = {group.name: [True, True, False, False, False, False]}
    assert export_whole(stepped.with_plan(Plan(keep=keep))) is whole
    assert len(made) == 1
    # Other weights are another network.
    state = {name: tensor + 1 for name, tensor in program.state().items()}
    assert export_whole(program.with_state(state)) is not whole
    assert len(made) == 2


def test_it_is_made_under_constraints_first_as_well() -> None:
    program = compressc.capture(nn.Linear(4, 2).eval(), (torch.randn(2, 4),))
    stepped = program.with_constraints(Constraints(multiple_of=2))
    assert export_whole(stepped) is export_whole(program)
    assert couple(stepped) is not couple(program)
