"""What kind of model file this is, told by its content; the suffix may lie."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from compressc.errors import HandOverError

_ACCEPTED = (
    "hand over a .pt2 from torch.export.save, an .onnx file, or a state_dict (.pt, .pth, "
    ".safetensors) with --arch"
)
_REBUILD = f"build the same network in PyTorch, load its weights there, and {_ACCEPTED}"
_KERAS = f"a Keras or HDF5 file, which cannot be read; {_REBUILD}"
_HEAD_BYTES = 64
_PICKLE_PROTOCOLS = (b"\2", b"\3", b"\4", b"\5")
_MAX_SAFETENSORS_HEADER = 100 * 2**20


class FileKind(Enum):
    """The kinds of file that can hold a model of ours."""

    EXPORTED = "torch.export archive"
    ZIPPED_PICKLE = "torch.save file"
    LEGACY_PICKLE = "torch.save file of torch before 1.6"
    SAFETENSORS = "safetensors"
    ONNX = "ONNX model"


def detect_kind(path: Path) -> FileKind:
    """Tell the kind of a model file from its content.

    Raises:
        HandOverError: if the file is missing, empty, damaged or of a kind that cannot be
            compressed; the text says what to hand over instead.
    """
    if path.is_dir():
        raise HandOverError(f"is a folder; {_ACCEPTED}")
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise HandOverError("no such file; check the path") from error
    except OSError as error:
        raise HandOverError(f"cannot be read ({error.strerror})") from error
    if not head:
        raise HandOverError("the file is empty; copy or save it again")
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    if _is_safetensors(head, size_bytes):
        return FileKind.SAFETENSORS
    if head[:1] == b"\x80" and head[1:2] in _PICKLE_PROTOCOLS:
        return FileKind.LEGACY_PICKLE
    if _is_onnx(path, head):
        return FileKind.ONNX
    raise HandOverError(_foreign(path, head))


def _zip_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, RuntimeError, OSError) as error:
        raise HandOverError("the file is damaged or truncated; copy or save it again") from error
    root = names[0].split("/")[0] + "/" if names else ""
    inner = {name.removeprefix(root) for name in names}
    if "archive_format" in inner:
        return FileKind.EXPORTED
    if "serialized_exported_program.json" in names:
        raise HandOverError(
            "an exported program of torch 2.7 or older; load it there and save it again with "
            "torch.export.save in torch 2.9 or newer"
        )
    if "constants.pkl" in inner:
        raise HandOverError(
            "a TorchScript file, whose program can be neither trained nor exported any more; hand "
            "over the nn.Module it was made from, as a .pt2 of torch.export.save or as its "
            "state_dict with --arch"
        )
    if "data.pkl" in inner:
        return FileKind.ZIPPED_PICKLE
    if "model.weights.h5" in names:
        raise HandOverError(_KERAS)
    if names and all(name.endswith(".npy") for name in names):
        raise HandOverError(f"NumPy arrays; {_ACCEPTED}")
    raise HandOverError(f"a zip archive without a PyTorch model in it; {_ACCEPTED}")


def _is_safetensors(head: bytes, size_bytes: int) -> bool:
    header_bytes = int.from_bytes(head[:8], "little")
    return (
        len(head) > 8
        and head[8:9] == b"{"
        and 2 <= header_bytes <= min(_MAX_SAFETENSORS_HEADER, size_bytes)
    )


def _is_onnx(path: Path, head: bytes) -> bool:
    # A ModelProto starts with its ir_version (field 1, one byte), then another field.
    starts = head[:1] == b"\x08" and len(head) > 2 and head[2] in (0x12, 0x1A, 0x3A, 0x42)
    pointer = head.startswith(b"version https://git-lfs")
    return starts or (path.suffix.lower() == ".onnx" and not pointer)


def _foreign(path: Path, head: bytes) -> str:
    """Name the kind of a file that is not ours, and say what to hand over instead."""
    suffix = path.suffix.lower()
    if head.startswith(b"\x89HDF\r\n\x1a\n") or suffix in (".h5", ".keras"):
        return _KERAS
    if head[4:8] == b"TFL3" or suffix in (".pb", ".tflite", ".ckpt"):
        return f"a TensorFlow file, which cannot be read; {_REBUILD}"
    if head.startswith(b"GGUF"):
        return f"a GGUF file, whose weights are quantized; {_ACCEPTED}"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the model itself; run 'git lfs pull' first"
    if head.startswith(b"\x93NUMPY"):
        return f"a NumPy array; {_ACCEPTED}"
    return f"not a model file that is known here (or damaged); {_ACCEPTED}"
