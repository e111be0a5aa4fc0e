"""Programs written as ``.pt2`` and read back, by us and by plain torch."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.errors import HandOverError, OutputError, PlanError
from compressc.frontend.archive import load_archive, save
from compressc.frontend.handover import load
from compressc.frontend.tracing import capture
from compressc.plan import Plan
from compressc.program import Constraints, HistoryLine


class TwoInputs(nn.Module):
    """A branch per input, joined; two outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.side = nn.Linear(5, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, picture, side):
        features = self.norm(self.image(picture)).relu().mean((2, 3)) + self.side(side)
        return {"logits": self.head(features), "features": features}


@pytest.fixture(scope="module")
def program():
    torch.manual_seed(0)
    model = TwoInputs().eval()
    captured = capture(model, (torch.randn(2, 3, 8, 8), torch.randn(2, 5)))
    steps = (
        HistoryLine("load", {"file": "a.pt"}),
        HistoryLine("magnitude", {"norm": 2}, 1.5, ("a note",)),
    )
    return replace(
        captured,
        input_names=("Picture", "side info"),
        constraints=Constraints(keep=("head*",), multiple_of=16, statistics="frozen"),
        history=steps,
    )


@pytest.fixture
def path(program, tmp_path):
    path = tmp_path / "small.pt2"
    save(program, path)
    return path


def edit_note(path, edit):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("extra/compressc.json"))
    members[name] = edit(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


def test_round_trip_keeps_everything(program, path):
    again = load(path)
    x = (torch.randn(5, 3, 8, 8), torch.randn(5, 5))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            program.graph_module(*x).values(), again.graph_module(*x).values(), strict=True
        )
    )
    assert again.input_names == ("Picture", "side info")
    assert again.output_names == ("logits", "features")
    assert again.dynamic_axes == program.dynamic_axes
    assert again.constraints == program.constraints
    assert again.history == program.history
    assert not again.plan
    for name, tensor in program.state().items():
        assert torch.equal(again.state()[name], tensor)
    for ours, theirs in zip(program.example_inputs, again.example_inputs, strict=True):
        assert torch.equal(ours, theirs)


def test_second_round_trip_changes_nothing(path, tmp_path):
    once = load(path)
    compressc.save(once, tmp_path / "twice.pt2")
    twice = load(tmp_path / "twice.pt2")
    assert once.graph_module.code == twice.graph_module.code
    assert once.history == twice.history


def test_plain_torch_reads_it_for_any_batch(program, path):
    module = torch.export.load(path).module()
    for batch in (1, 2, 7):
        x = (torch.randn(batch, 3, 8, 8), torch.randn(batch, 5))
        assert torch.equal(module(*x)["logits"], program.graph_module(*x)["logits"])


def test_layer_names_survive(path):
    stacks = [str(node.meta.get("nn_module_stack")) for node in load(path).graph_module.graph.nodes]
    assert any("'image'" in stack for stack in stacks)


def test_foreign_archive_gets_a_history(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model, (torch.randn(2, 3, 6, 6),), dynamic_shapes=shapes)
    torch.export.save(exported, tmp_path / "foreign.pt2")
    program = load(tmp_path / "foreign.pt2")
    assert [step.name for step in program.history] == ["load"]
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(program.graph_module(x), model(x))


def test_input_shape_replaces_missing_example_inputs(tmp_path):
    model = nn.Sequential(nn.Linear(5, 3)).eval()
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model, (torch.randn(2, 5),), dynamic_shapes=dynamic)
    exported.example_inputs = None
    torch.export.save(exported, tmp_path / "bare.pt2")
    with pytest.raises(HandOverError, match="--input-shape"):
        load(tmp_path / "bare.pt2")
    program = load(tmp_path / "bare.pt2", input_shape=(5,), batch=4)
    assert program.example_inputs[0].shape == (4, 5)


def test_arch_beside_an_archive_is_refused(path):
    with pytest.raises(HandOverError, match="leave out --arch"):
        load(path, arch="resnet20")


def test_pending_plan_is_not_saved(program, tmp_path):
    pending = replace(program, plan=Plan(keep={"g": np.array([True, False])}))
    with pytest.raises(PlanError, match=r"compressc\.lower"):
        compressc.save(pending, tmp_path / "p.pt2")
    assert not list(tmp_path.iterdir())


def test_unwritable_place(program, tmp_path):
    with pytest.raises(OutputError):
        compressc.save(program, tmp_path / "missing" / "p.pt2")


@pytest.mark.parametrize(
    "edit",
    [
        lambda _note: b"not json",
        lambda _note: b"[]",
        lambda note: note.replace(b'"history"', b'"mystery"'),
        lambda note: json.dumps(json.loads(note) | {"input_names": ["one"]}).encode(),
        lambda note: json.dumps(json.loads(note) | {"output_names": [1, 2]}).encode(),
        lambda note: json.dumps(json.loads(note) | {"format": "compressc-program-9"}).encode(),
    ],
)
def test_damaged_note_is_refused(edit, path):
    edit_note(path, edit)
    with pytest.raises(HandOverError, match=r"compressc\.json|another compressc"):
        load_archive(path)
