"""What inspect says about a program whose coupling is known."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import CompresscError
from compressc.program import Constraints
from compressc.reporting.inspection import Inspection, inspect_program
from compressc.reporting.inspection_table import print_inspection


class Residual(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(blocks))
        self.wide = nn.ModuleList(nn.Conv2d(8, 16, 1) for _ in range(blocks))
        self.narrow = nn.ModuleList(nn.Conv2d(16, 8, 1) for _ in range(blocks))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, wide, narrow in zip(self.blocks, self.wide, self.narrow, strict=True):
            x = x + narrow(wide(block(x).relu()).relu())
        return self.head(x.mean((2, 3)))


def look(blocks: int, keep: tuple[str, ...] = ()) -> Inspection:
    torch.manual_seed(0)
    program = compressc.capture(Residual(blocks), (torch.randn(2, 3, 6, 6),))
    return inspect_program(program.with_constraints(Constraints(keep=keep)))


def test_groups_name_their_layers_and_what_they_save() -> None:
    found = look(1)
    groups = {group.name: group for group in found.groups}
    assert groups["stem"].producers == ("stem", "narrow.0")
    assert set(groups["stem"].consumers) == {"blocks.0", "head"}
    macs = {layer.name: layer.macs for layer in found.layers}
    touched = macs["stem"] + macs["narrow.0"] + macs["blocks.0"] + macs["head"]
    assert groups["stem"].halving_saves == pytest.approx(touched / 2 / found.macs)
    assert groups["head"].pinned is not None


def test_the_least_is_one_unit_per_group() -> None:
    found = look(1)
    # stem 3->1, block 1->1, wide 1->1, narrow 1->1 on 36 positions; head 1->5.
    assert found.least_macs == 36 * (27 + 9 + 1 + 1) + 5


def test_blocks_say_what_leaves_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    inspection = look(2, keep=("wide.1",))
    first, second = inspection.blocks
    assert first.layers == ("blocks.0", "wide.0", "narrow.0")
    macs = {layer.name: layer.macs for layer in inspection.layers}
    assert first.saves == pytest.approx(sum(macs[name] for name in first.layers) / inspection.macs)
    assert (first.pinned, second.pinned) == (None, "kept by --keep wide.1")
    print_inspection(inspection)
    shown = capsys.readouterr().out
    assert "blocks that may be left out whole" in shown
    assert json.loads(inspection.to_json())["blocks"][1]["pinned"] == "kept by --keep wide.1"


def test_kept_layers_are_pins_with_reasons() -> None:
    found = look(2, keep=("wide.*",))
    reasons = {pin.name: pin.reason for pin in found.pins}
    assert reasons["wide.0"] == "kept by --keep wide.*"
    assert json.loads(found.to_json())["format"] == "compressc-inspection-1"


def test_a_deep_model_is_cut_to_the_costliest(capsys: pytest.CaptureFixture[str]) -> None:
    found = look(30)
    print_inspection(found)
    short = capsys.readouterr().out
    assert len(short.splitlines()) < 90
    assert "--all shows them" in short
    print_inspection(found, everything=True)
    full = capsys.readouterr().out
    assert "--all" not in full
    assert all(layer.name in full for layer in found.layers)


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(CompresscError, match="matches no group"):
        print_inspection(look(1), pattern="nope")
