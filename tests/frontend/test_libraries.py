"""Models of other libraries: by name, or as a folder; with stand-ins of their interface."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.cli.main import main
from compressc.errors import HandOverError


def build(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)
    )


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(build(7).state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_timm_by_name(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def create_model(name: str, pretrained: bool, **arguments: Any) -> nn.Module:
        calls.append((name, pretrained, arguments))
        model = build(**arguments)
        model.pretrained_cfg = {"input_size": (3, 24, 24)}
        return model

    pretend(monkeypatch, "timm", create_model=create_model, list_models=lambda: ["tiny"])
    program = compressc.load(weights, arch="timm:tiny.in1k")
    assert program.example_inputs[0].shape == (2, 3, 24, 24)
    assert program.module()(torch.randn(1, 3, 24, 24)).shape == (1, 7)
    assert calls[-1] == ("tiny.in1k", False, {"num_classes": 7})
    with pytest.raises(HandOverError, match=r"timm has no such network \(it has tiny\)"):
        compressc.load(weights, arch="timm:tini")


def test_torchvision_by_name(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Weights(Enum):
        DEFAULT = SimpleNamespace(transforms=lambda: SimpleNamespace(crop_size=[20]))

    Weights.DEFAULT.transforms = Weights.DEFAULT.value.transforms  # type: ignore[attr-defined]
    models = SimpleNamespace(
        list_models=lambda: ["tiny"],
        get_model=lambda _, weights, **arguments: build(**arguments),
        get_model_weights=lambda _: Weights,
    )
    pretend(monkeypatch, "torchvision", models=models)
    program = compressc.load(weights, arch="torchvision:tiny")
    assert program.example_inputs[0].shape == (2, 3, 20, 20)


def test_ultralytics_by_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Yolo:
        def __init__(self, name: str) -> None:
            if name != "tiny.yaml":
                raise FileNotFoundError(name)
            self.model = build()

    torch.save(build().state_dict(), tmp_path / "w.pt")
    pretend(monkeypatch, "ultralytics", YOLO=Yolo)
    program = compressc.load(tmp_path / "w.pt", arch="ultralytics:tiny.yaml")
    assert program.example_inputs[0].shape == (2, 3, 640, 640)
    for name, said in (("no.yaml", "no such description"), ("yolo11n.pt", "--trust-pickle")):
        with pytest.raises(HandOverError, match=said):
            compressc.load(tmp_path / "w.pt", arch=f"ultralytics:{name}")


class PickledNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = build()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_a_checkpoint_of_ultralytics_tells_its_size_and_is_half(tmp_path: Path) -> None:
    content = {"model": PickledNetwork().half(), "ema": None, "train_args": {"imgsz": 16}}
    torch.save(content, tmp_path / "y.pt")
    program = compressc.load(tmp_path / "y.pt", trust_pickle=True)
    assert program.example_inputs[0].shape == (2, 3, 16, 16)
    assert program.module()(torch.randn(1, 3, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize("library", ["timm", "torchvision", "ultralytics"])
def test_a_library_that_is_missing_is_named(weights, monkeypatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(HandOverError, match=f"pip install {library}|cannot be imported"):
        compressc.load(weights, arch=f"{library}:resnet18")


def test_near_matches_and_the_list(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HandOverError) as far:
        compressc.load(weights, arch="mynet")
    assert "lenet5" not in str(far.value)
    assert "compressc architectures" in str(far.value)
    with pytest.raises(HandOverError, match="did you mean resnet56"):
        compressc.load(weights, arch="resnet_56")
    assert main(["architectures"]) == 0
    assert "resnet56" in capsys.readouterr().out
    assert main(["architectures", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["resnet20"]["params"] == 269_722


def test_a_lazy_import_that_fails_names_its_cause(tmp_path, monkeypatch, weights: Path) -> None:
    (tmp_path / "lazynets.py").write_text(
        "try:\n    import not_there\nexcept ImportError as error:\n"
        "    raise ModuleNotFoundError('cannot load nets lazily') from error\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HandOverError) as caught:
        compressc.load(weights, arch="lazynets:build")
    assert "not_there" in str(caught.value)
    assert "'None'" not in str(caught.value)


class TinyText(nn.Module):
    """A classifier with the interface of transformers."""

    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(50, 16), nn.Linear(16, 3)
        self.config = SimpleNamespace(use_cache=True)

    @classmethod
    def from_pretrained(cls, folder: str, **options: Any) -> TinyText:
        from safetensors.torch import load_file

        assert options == {
            "local_files_only": True,
            "trust_remote_code": False,
            "use_safetensors": True,
        }
        model = cls()
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, return_dict: bool) -> Any:
        mask = attention_mask[..., None].float()
        hidden = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)
        return {"logits": self.head(hidden), "loss": None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from safetensors.torch import save_file

    pretend(monkeypatch, "transformers", TinyText=TinyText, __version__="5.0")
    torch.manual_seed(0)
    save_file(TinyText().state_dict(), tmp_path / "model.safetensors")
    config = {"architectures": ["TinyText"], "vocab_size": 50, "model_type": "tiny"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_folder_of_transformers(folder: Path) -> None:
    program = compressc.load(folder)
    assert program.input_names == ("input_ids", "attention_mask")
    assert program.output_names == ("logits",)
    assert all(set(axes) == {0, 1} for axes in program.dynamic_axes)
    tokens = torch.randint(0, 50, (3, 7))
    mask = torch.ones(3, 7, dtype=torch.int64)
    with torch.no_grad():
        want = TinyText.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True
        )(tokens, mask, return_dict=True)["logits"]
        torch.testing.assert_close(program.module()(tokens, mask)["logits"], want)


def test_such_a_folder_goes_all_the_way(folder: Path, tmp_path: Path) -> None:
    import onnxruntime as ort

    result = compressc.compress(
        compressc.load(folder),
        goal=compressc.Goal(),
        passes=[],
        settings=compressc.Settings(measure=False),
    )
    result.export(tmp_path / "out.onnx")
    session = ort.InferenceSession(str(tmp_path / "out.onnx"))
    tokens = torch.randint(0, 50, (3, 9)).numpy()
    feeds = {"input_ids": tokens, "attention_mask": tokens * 0 + 1}
    assert session.run(None, feeds)[0].shape == (3, 3)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{}", "names no architecture"),
        ("{", "cannot be read"),
        ("[]", "is no object"),
        ('{"architectures": ["Unknown"]}', "code in the folder is not run"),
        ('{"architectures": ["TinyText"]}', "has no vocab_size"),
    ],
)
def test_folders_that_cannot_be_used(folder: Path, config: str, said: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(HandOverError, match=said):
        compressc.load(folder)


def test_pickled_weights_in_a_folder_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(HandOverError, match=r"holds no model.safetensors"):
        compressc.load(folder)


def test_transformers_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HandOverError, match="pip install transformers"):
        compressc.load(folder)


def test_real_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    program = compressc.load(tmp_path)
    assert program.input_names == ("input_ids", "attention_mask")
    outputs = program.module()(torch.randint(0, 60, (3, 11)), torch.ones(3, 11, dtype=torch.int64))
    assert outputs["logits"].shape == (3, 3)
