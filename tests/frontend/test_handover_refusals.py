"""Bad model files: one clear line each, and nothing from the file runs."""

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compressc.errors import CompresscError, HandOverError
from compressc.frontend.handover import load
from compressc.models.registry import build


@pytest.fixture
def refused(tmp_path):
    """Return a function that saves, loads, and returns the one line that load answers."""

    def answer(content, name="model.pt", **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(CompresscError) as refusal:
            load(path, **options)
        text = str(refusal.value)
        assert "\n" not in text
        assert text.startswith(f"{path}: ")
        assert len(text) < 600
        return text

    return answer


def lenet_state(**changes):
    return {**build("lenet300_100").state_dict(), **changes}


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (b"", "model.pt", "empty"),
        (b"\x08\x08\x12\x07pytorch\x1a", "model.onnx", "leave out --arch"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "model.pt", "Keras"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 99, "model.bin", "TensorFlow"),
        (b"GGUF" + b"\0" * 99, "model.gguf", "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "model.pt", "git lfs pull"),
        (b"\x93NUMPY\x01\0", "model.npy", "NumPy"),
        (b"hello", "model.pt", "not a model file"),
        (b"\x80\x02garbage" * 9, "model.pt", "damaged"),
        (b"\x80", "model.pt", "or damaged"),
        (b"\xff" * 4096, "model.safetensors", "damaged"),
        (b'\x10\0\0\0\0\0\0\0{"a": nonsense!!', "model.safetensors", "damaged"),
    ],
)
def test_kind_of_file(head, name, words, refused):
    assert words in refused(head, name, arch="lenet300_100")


def test_missing_file_and_folder(refused, tmp_path):
    assert "no such file" in refused(None, "missing.pt")
    (tmp_path / "folder").mkdir()
    assert "is a folder" in refused(None, "folder")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_told_what_to_hand_over(refused, tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "script.pt")
    assert "torch.export.save" in refused(None, "script.pt")


def test_zip_of_something_else(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "without a PyTorch model" in refused(None, "a.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(share, refused, tmp_path):
    state = lenet_state()
    torch.save(state, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "s.safetensors")
    for name in ("zip.pt", "legacy.pt", "s.safetensors"):
        data = (tmp_path / name).read_bytes()
        assert "damaged" in refused(data[: int(len(data) * share)], name, arch="lenet300_100")


def test_flipped_bit_in_a_weight(refused, tmp_path):
    torch.save(lenet_state(), tmp_path / "good.pt")
    data = bytearray((tmp_path / "good.pt").read_bytes())
    data[len(data) // 2] ^= 1
    assert "checksum" in refused(bytes(data), arch="lenet300_100")


def test_compressed_members_are_refused(refused, tmp_path):
    torch.save(lenet_state(), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "compressed" in refused(None, "bomb.pt", arch="lenet300_100")


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_does_not_run(zipped, refused, tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "evil.pt"
    content = {"state_dict": lenet_state(), "extra": Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert marker.exists(), "the payload does not work, so refusing it proves nothing"
    marker.unlink()
    text = refused(None, "evil.pt", arch="lenet300_100")
    assert "exec" in text
    assert "--trust-pickle" in text
    assert not marker.exists()


def test_bare_pickle_does_not_run(refused, tmp_path):
    marker = tmp_path / "executed"
    refused(pickle.dumps(Payload(marker)), arch="lenet300_100")
    assert not marker.exists()


def test_architecture_named_as_code_is_not_imported(refused, tmp_path, monkeypatch):
    marker = tmp_path / "executed"
    (tmp_path / "evil_arch_module.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    text = refused({"state_dict": lenet_state(), "arch": "evil_arch_module:build"})
    assert "not imported unasked" in text
    assert "--arch evil_arch_module:build" in text
    assert not marker.exists()


def test_architecture_missing_or_unknown(refused):
    assert "--arch" in refused(lenet_state())
    assert "'resnet50d'" in refused({"state_dict": lenet_state(), "arch": "resnet50d"})
    assert "resnet20" in refused(lenet_state(), arch="resnet21")


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("no_such_module_x:net", "no module 'no_such_module_x'"),
        ("torch.nn:NoSuchLayer", "has no 'NoSuchLayer'"),
        ("math:pi", "not a factory"),
        ("builtins:dict", "returned a dict"),
        ("torch.nn:Linear", "cannot be built"),
        ("a b:c", "write module:factory"),
        ("broken_arch_module:net", "ZeroDivisionError"),
    ],
)
def test_bad_factory(arch, words, refused, tmp_path, monkeypatch):
    (tmp_path / "broken_arch_module.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    assert words in refused(lenet_state(), arch=arch)


def test_mismatch_names_the_tensors(refused):
    state = lenet_state()
    first, *_, last = state
    assert f"missing: {first}" in refused(
        {k: v for k, v in state.items() if k != first}, arch="lenet300_100"
    )
    assert "unexpected: other.weight" in refused(
        state | {"other.weight": torch.ones(2)}, arch="lenet300_100"
    )
    text = refused(state | {first: torch.ones(7, 7)}, arch="lenet300_100")
    assert f"{first} has [7, 7], the architecture wants [300, 784]" in text
    assert last not in text
    assert "and 9 more" in refused(
        state | {f"x.{i}": torch.ones(1) for i in range(12)}, arch="lenet300_100"
    )


def test_hostile_names_stay_on_one_line(refused):
    text = refused(lenet_state() | {"a\nb\x1b[31m.c": torch.ones(1)}, arch="lenet300_100")
    assert "a b\ufffd[31m.c" in text


def test_other_class_count_is_said(refused):
    state = build("lenet300_100", num_classes=3).state_dict()
    text = refused(state, arch="lenet300_100", arch_kwargs={"num_classes": 10})
    assert "only the classifier differs" in text
    assert "num_classes=3" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "lr": 0.1}, "no state_dict (found epoch, lr)"),
        ([1, 2], "holds a list"),
        (torch.ones(3), "holds a Tensor"),
        ({}, "no state_dict"),
    ],
)
def test_file_without_weights(content, words, refused):
    assert words in refused(content, arch="lenet300_100")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.fill_(float("nan")), "NaN"),
        (lambda t: t.fill_(float("inf")), "infinite"),
        (lambda t: t.to(torch.complex64), "is complex (complex64)"),
        (lambda t: t.to(torch.int8), "stored as int8"),
    ],
)
def test_unsound_weights_are_named(change, words, refused):
    state = lenet_state()
    name = next(iter(state))
    text = refused(state | {name: change(state[name].clone())}, arch="lenet300_100")
    assert words in text
    assert name in text


def test_unknown_and_wrong_input_shape(refused, tmp_path, monkeypatch):
    (tmp_path / "conv_arch_module.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    state = nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict()
    assert "--input-shape 3,224,224" in refused(state, arch="conv_arch_module:net")
    text = refused(state, arch="conv_arch_module:net", input_shape=(5, 9, 9))
    assert "[2, 5, 9, 9]" in text
    with pytest.raises(HandOverError, match="positive sizes"):
        load(tmp_path / "model.pt", arch="conv_arch_module:net", input_shape=(0,))
