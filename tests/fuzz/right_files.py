"""Files that are right, one for each door, and what has to lie beside them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.frontend.archive import save
from compressc.models.registry import build
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.gates.gated_units import find_gated_units
from compressc.plan import Plan
from compressc.program import Program
from compressc.runtime.cost_store import export_table
from compressc.runtime.verification import make_reference, write_reference
from compressc.search.history import History, Note, SearchHead
from compressc.search.history_file import write_history
from compressc.store.records import pack_state, unpack_state
from compressc.store.store import Store

NAME = "hostile"
FACTORY = """
from torch import nn


def build(num_classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""


@cache
def tiny_module() -> nn.Module:
    namespace: dict[str, object] = {}
    exec(FACTORY, namespace)
    torch.manual_seed(0)
    return namespace["build"]().eval()  # type: ignore[operator,no-any-return]


@cache
def tiny_program() -> Program:
    return compressc.capture(tiny_module(), (torch.randn(2, 3, 8, 8),))


@cache
def tiny_onnx() -> bytes:
    return export_onnx(tiny_program()).SerializeToString()


def saved(write: Callable[[Path], object]) -> bytes:
    """Return what a function writes to a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def own_checkpoint() -> bytes:
    return torch_bytes(
        {
            "format": "compressc-checkpoint-1",
            "arch": "lenet300_100",
            "arch_kwargs": {"num_classes": 10},
            "input_shape": [1, 28, 28],
            "normalization": {"mean": [0.1], "std": [0.3]},
            "state_dict": {k: v.half() for k, v in build("lenet300_100").state_dict().items()},
        }
    )


def safetensors() -> bytes:
    from safetensors.torch import save as save_tensors

    return save_tensors(tiny_module().state_dict())


def images(count: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8)).astype(np.uint8)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(images(1)[0].transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def tar_of_pictures() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for place in range(48):
            content = picture()
            entry = tarfile.TarInfo(f"train/{'ab'[place % 2]}/{place}.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def idx() -> bytes:
    pixels = images(64)[:, 0]
    return gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes())


def beside_idx(folder: Path) -> None:
    labels = (np.arange(64) % 4).astype(np.uint8)
    content = struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels.tobytes()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    grey = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()
    save(compressc.capture(grey, (torch.randn(2, 1, 8, 8),)), folder / "model.pt2")


def write_onnx(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(tiny_onnx())
    save(tiny_program(), folder / "model.pt2")
    (folder / "tiny.py").write_text(FACTORY)


@cache
def reference() -> bytes:
    def write(path: Path) -> None:
        model = path.with_name("model.onnx")
        model.write_bytes(tiny_onnx())
        write_reference(make_reference(model), path)

    return saved(write)


@cache
def cost_table() -> bytes:
    def write(path: Path) -> None:
        model = path.with_name("model.onnx")
        model.write_bytes(tiny_onnx())
        path.write_text(export_table(model).to_json())

    return saved(write)


def recipe() -> bytes:
    text = """command = "compress"
model = "model.pt2"
target-params = 0.6
output = "out.onnx"

[[pass]]
name = "magnitude"
norm = "l1"
"""
    return text.encode()


def store_bytes() -> bytes:
    def write(path: Path) -> None:
        store = Store(path.parent, "0" * 64)
        store.save("state", pack_state({"epoch": 3, "weights": torch.ones(5)}))
        path.write_bytes(store.path("state").read_bytes())

    return saved(write)


def read_store(path: Path) -> None:
    store = Store(path.parent, "0" * 64)
    path.rename(store.path("state"))
    state = unpack_state(store.load("state"))
    # Only what was written may come back.
    assert state is None or (state["epoch"] == 3 and state["weights"].sum() == 5)


def plan_files() -> bytes:
    mask = np.arange(8) % 2 == 0
    return json.dumps(_plan_document(mask)).encode()


def _plan_document(mask: np.ndarray) -> dict[str, object]:
    def write(path: Path) -> None:
        Plan(keep={"0": mask}).save(path)

    return dict(json.loads(saved(write)))


def beside_plan(folder: Path) -> None:
    Plan(keep={"0": np.arange(8) % 2 == 0}).save(folder / f"{NAME}.json")


def agents_file() -> bytes:
    units = find_gated_units(tiny_program())
    agents = TrainedAgents(np.zeros(units.count), None, ())
    return saved(lambda path: agents.save(path, tiny_program(), units))


def history_lines() -> bytes:
    head = SearchHead("ascai", ("a",), ((1.0, 0.1),), 90.0, {"macs": 10}, 80.0)
    return saved(lambda path: write_history(path, History(head, (Note("begun"),))))


def rows_document() -> bytes:
    return json.dumps({"format": "compressc-sweep-1", "rows": [{"target": 0.5}]}).encode()
