"""State dicts in the forms that training scripts leave behind."""

import argparse
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compressc.errors import HandOverError
from compressc.frontend.handover import load
from compressc.models.registry import build

FOREIGN = Path("/work/shared/models")


@pytest.fixture(scope="module")
def lenet():
    torch.manual_seed(0)
    return build("lenet300_100").eval()


@pytest.fixture
def save(tmp_path):
    def write(content, name="model.pt", **options):
        path = tmp_path / name
        torch.save(content, path, **options)
        return path

    return write


def prefixed(state, prefix):
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def assert_same(program, model):
    x = torch.randn(3, *program.example_inputs[0].shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(program.graph_module(x), model(x))


FORMS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "best_prec1": 0.9, "state_dict": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state, "scaler": None},
    "net": lambda state: {"net": state, "acc": 91.2},
    "nested": lambda state: {"model": {"state_dict": state}},
    "data parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled data parallel": lambda state: prefixed(state, "module._orig_mod."),
    "data parallel compiled": lambda state: prefixed(state, "_orig_mod.module."),
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "hyper_parameters": {}},
    "averaged": lambda state: prefixed(state, "module.") | {"n_averaged": torch.tensor(5)},
    "profiled": lambda state: state | {"total_ops": torch.zeros(1)},
    "numpy scalars": lambda state: {"state_dict": state, "best": np.float64(0.5)},
}


@pytest.mark.parametrize("form", FORMS)
def test_form_of_state_dict(form, lenet, save):
    program = load(save(FORMS[form](lenet.state_dict())), arch="lenet300_100")
    assert_same(program, lenet)


def test_half_precision_is_widened_without_loss(lenet, save):
    half = {name: tensor.half() for name, tensor in lenet.state_dict().items()}
    state = load(save(half), arch="lenet300_100").state()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in half.items())


def test_legacy_format(lenet, save):
    path = save({"state_dict": lenet.state_dict()}, "old.th", _use_new_zipfile_serialization=False)
    assert_same(load(path, arch="lenet300_100"), lenet)


def test_safetensors_whatever_the_suffix(lenet, tmp_path):
    path = tmp_path / "weights.bin"
    save_file(lenet.state_dict(), path)
    assert_same(load(path, arch="lenet300_100"), lenet)


def test_saved_on_cuda_comes_to_the_cpu(lenet, save, monkeypatch):
    # What a GPU's storages leave in the pickle is their location tag alone.
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")
    path = save(lenet.state_dict())
    monkeypatch.undo()
    assert b"cuda:0" in path.read_bytes()
    assert_same(load(path, arch="lenet300_100"), lenet)


def test_checkpoint_that_names_its_architecture_needs_no_flag(lenet, save):
    for named in (
        {"arch": "lenet300_100"},
        {"arch": "LeNet300-100"},
        {"args": argparse.Namespace(model="lenet300_100", lr=0.1)},
    ):
        assert_same(load(save({"state_dict": lenet.state_dict(), **named})), lenet)


def test_our_checkpoint_tells_shape_and_normalization(save):
    model = build("resnet20", num_classes=4).eval()
    normalization = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    path = save(
        {
            "format": "compressc-checkpoint-1",
            "arch": "resnet20",
            "arch_kwargs": {"num_classes": 4},
            "input_shape": [3, 16, 16],
            "normalization": normalization,
            "state_dict": model.state_dict(),
        }
    )
    program = load(path)
    assert program.example_inputs[0].shape == (2, 3, 16, 16)
    assert program.dynamic_axes[0] == {0: "batch"}
    assert program.history[0].name == "load"
    assert program.history[0].settings["normalization"] == normalization
    assert_same(program, model)


def test_class_count_comes_from_the_weights(save):
    model = build("resnet20", num_classes=7).eval()
    assert_same(load(save(model.state_dict()), arch="resnet20"), model)


def test_batch_norm_counters_may_be_missing(save):
    model = build("resnet20").eval()
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("batches_tracked")}
    assert_same(load(save(state), arch="resnet20"), model)


def test_factory_of_the_user(save, tmp_path, monkeypatch):
    (tmp_path / "my_tied_nets.py").write_text(
        "from torch import nn\n"
        "class Tied(nn.Module):\n"
        "    def __init__(self, width):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(width, width)\n"
        "        self.b = nn.Linear(width, width)\n"
        "        self.b.weight = self.a.weight\n"
        "    def forward(self, x):\n"
        "        return self.b(self.a(x).relu())\n"
    )
    monkeypatch.chdir(tmp_path)
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    # safetensors stores tied weights once.
    state = {"a.weight": a.weight, "a.bias": a.bias, "b.bias": b.bias}
    program = load(save(state), arch="my_tied_nets:Tied", arch_kwargs={"width": 6})
    x = torch.randn(3, 6)
    expected = nn.functional.linear(a(x).relu(), a.weight, b.bias)
    torch.testing.assert_close(program.graph_module(x), expected)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 1}, nn.DataParallel])
def test_pickled_module_only_with_trust(wrap, save):
    model = nn.Sequential(nn.Linear(5, 3), nn.ReLU()).eval()
    path = save(wrap(model))
    with pytest.raises(HandOverError, match=r"runs code.*--trust-pickle.*state_dict") as refusal:
        load(path)
    assert "torch.nn.modules." in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert_same(load(path, trust_pickle=True), model)


def test_half_precision_module_is_widened(save):
    program = load(save(nn.Sequential(nn.Linear(5, 3)).half()), trust_pickle=True)
    assert {tensor.dtype for tensor in program.state().values()} == {torch.float32}


def test_pickled_module_without_its_class(save, monkeypatch):
    monkeypatch.setattr(Small, "__module__", "no_such_module_here")
    monkeypatch.setitem(sys.modules, "no_such_module_here", argparse)
    monkeypatch.setattr(argparse, "Small", Small, raising=False)
    path = save(Small())
    monkeypatch.undo()
    with pytest.raises(HandOverError, match="code of its class cannot be found"):
        load(path, trust_pickle=True)


def test_class_in_the_current_folder_is_found(tmp_path, monkeypatch):
    code = "from torch import nn\nclass Net(nn.Sequential):\n    pass\n"
    (tmp_path / "net_of_this_folder.py").write_text(code)
    script = (
        "import torch; from torch import nn; from net_of_this_folder import Net\n"
        "torch.save(Net(nn.Linear(4, 2)), 'whole.pt')\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    program = load("whole.pt", trust_pickle=True)
    assert program.example_inputs[0].shape == (2, 4)
    assert str(tmp_path) not in sys.path


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="needs the foreign checkpoints")
@pytest.mark.parametrize(
    ("name", "arch"),
    [("resnet20-cifar10-jpeg.th", "resnet20"), ("resnet56-cifar10-jpeg.pt", "resnet56")],
)
def test_foreign_checkpoint(name, arch):
    path = FOREIGN / name
    program = load(path, arch=arch)
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = {k.removeprefix("module."): v for k, v in content.get("state_dict", content).items()}
    model = build(arch)
    model.load_state_dict(state)
    assert_same(program, model.eval())
