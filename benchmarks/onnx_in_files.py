"""The ONNX files of the benchmark of imports: written by exporters, or shipped inside packages."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from coverage_models import build_model, list_models, make_inputs
from onnx import numpy_helper

from compressc.models.registry import architectures, build

EXPORTERS = ("older", "dynamo")
_COVERAGE = Path(__file__).with_name("coverage.jsonl")


@dataclass(frozen=True)
class OnnxFile:
    """One file.

    Attributes:
        key: kind, model and exporter.
        kind: "own", "foreign", "package", "light", "keras" or "sklearn".
        shapes: of one example of each input, as the command line takes them; "" where the file
            tells them.
        prepare: writes the file into a folder, or says where it lies.
    """

    key: str
    kind: str
    shapes: str
    prepare: Callable[[Path], Path]


def list_files() -> list[OnnxFile]:
    """Return every file, small ones of our own first."""
    return [
        *_own(),
        *_shipped(),
        *_with_fixed_inputs(),
        *_light(),
        *_written_by_others(),
        *_foreign(),
    ]


def _own() -> list[OnnxFile]:
    return [
        OnnxFile(f"own:{name}:{exporter}", "own", "", _own_writer(name, exporter))
        for name in architectures()
        for exporter in EXPORTERS
    ]


def _own_writer(name: str, exporter: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.manual_seed(0)
        inputs = (torch.randn(2, *architectures()[name].input_shape),)
        return _export(build(name).eval(), inputs, exporter, folder / "model.onnx")

    return write


def _foreign() -> list[OnnxFile]:
    """Return the files of every model whose PyTorch original is reached, the quickest first."""
    lines = map(json.loads, _COVERAGE.read_text().splitlines())
    seconds = {
        line["model"]: sum(line["cpu_seconds"].values())
        for line in lines
        if line["tool"] == "compressc" and line["ok"]
    }
    reached = [model for model in list_models() if model.key in seconds]
    return [
        OnnxFile(f"foreign:{model.key}:{exporter}", "foreign", "", _foreign_writer(model, exporter))
        for model in sorted(reached, key=lambda model: seconds[model.key])
        for exporter in EXPORTERS
    ]


def _foreign_writer(model: Any, exporter: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return _export(build_model(model), make_inputs(model), exporter, folder / "model.onnx")

    return write


def _export(module: torch.nn.Module, inputs: tuple[Any, ...], exporter: str, path: Path) -> Path:
    names = [f"x{index}" for index in range(len(inputs))]
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            torch.onnx.export(
                module,
                inputs,
                path,
                dynamo=True,
                external_data=False,
                input_names=names,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
            )
        else:
            axes = {name: {0: "batch"} for name in names}
            torch.onnx.export(
                module, inputs, path, dynamo=False, input_names=names, dynamic_axes=axes
            )
    return path


# Package, file inside it, shapes.
_SHIPPED = (
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", "3,320,320"),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", "3,48,320"),
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "3,48,192"),
    ("magika", "models/standard_v3_3/model.onnx", ""),
    ("silero_vad", "data/silero_vad.onnx", "576;2,128;1"),
    ("silero_vad", "data/silero_vad_16k_op15.onnx", "576"),
    ("silero_vad", "data/silero_vad_op18_ifless.onnx", "576"),
    ("silero_vad", "data/silero_vad_half.onnx", "576"),
    ("basic_pitch", "saved_models/icassp_2022/nmp.onnx", ""),
)


def _shipped() -> list[OnnxFile]:
    return [
        OnnxFile(
            f"package:{package}:{Path(file).stem}", "package", shapes, _in_package(package, file)
        )
        for package, file, shapes in _SHIPPED
    ]


# Files that choose by an input, with its value written into them: file, input, value, shapes.
_FIXED = (
    ("silero_vad", "data/silero_vad.onnx", "sr", 16000, "576;2,128"),
    ("silero_vad", "data/silero_vad_op18_ifless.onnx", "sr", 16000, "576;2,128"),
)


def _with_fixed_inputs() -> list[OnnxFile]:
    return [
        OnnxFile(
            f"package:{package}:{Path(file).stem}:{name}={value}",
            "package",
            shapes,
            _fixing(_in_package(package, file), name, value),
        )
        for package, file, name, value, shapes in _FIXED
    ]


def _fixing(find: Callable[[Path], Path], name: str, value: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        model = onnx.load(find(folder))
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        kept = [entry for entry in model.graph.input if entry.name != name]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        path = folder / "model.onnx"
        onnx.save(model, path)
        return path

    return write


def _in_package(package: str, file: str) -> Callable[[Path], Path]:
    def find(_: Path) -> Path:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"package {package} is not installed")
        return Path(spec.submodule_search_locations[0]) / file

    return find


def _light() -> list[OnnxFile]:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return [
        OnnxFile(f"light:{path.stem}", "light", "", _filled(path))
        for path in sorted(folder.glob("*.onnx"))
    ]


def _filled(source: Path) -> Callable[[Path], Path]:
    """Return a writer of the file with seeded weights in the place of its constant ones.

    The onnx package ships these networks with ConstantOfShape nodes for weights.
    """

    def write(folder: Path) -> Path:
        model = onnx.load(source)
        generator = torch.Generator().manual_seed(0)
        shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        kept = []
        for node in model.graph.node:
            if node.op_type != "ConstantOfShape":
                kept.append(node)
                continue
            shape = [int(size) for size in shapes[node.input[0]]]
            fan_in = max(1, int(torch.tensor(shape[1:]).prod()))
            weights = torch.randn(shape, generator=generator) * (2.0 / fan_in) ** 0.5
            if len(shape) == 1:
                weights = weights.abs() * 0.1 + 0.9
            model.graph.initializer.append(numpy_helper.from_array(weights.numpy(), node.output[0]))
        del model.graph.node[:]
        model.graph.node.extend(kept)
        # Before IR version 4 an initializer had to be an input as well.
        model.ir_version = max(model.ir_version, 4)
        path = folder / "model.onnx"
        onnx.save(model, path)
        return path

    return write


def _written_by_others() -> list[OnnxFile]:
    return [
        OnnxFile("keras:small_cnn", "keras", "", _keras_writer("small_cnn")),
        OnnxFile("keras:mobilenet_v2", "keras", "", _keras_writer("mobilenet_v2")),
        OnnxFile("sklearn:mlp", "sklearn", "", _write_sklearn),
    ]


def _keras_writer(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "model.onnx"
        # TensorFlow wants other versions of shared packages, so it may live elsewhere.
        python = os.environ.get("KERAS_PYTHON", sys.executable)
        script = Path(__file__).with_name("onnx_in_keras.py")
        command = [python, str(script), name, str(path)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return path

    return write


def _write_sklearn(folder: Path) -> Path:
    datasets: Any = importlib.import_module("sklearn.datasets")
    networks: Any = importlib.import_module("sklearn.neural_network")
    converter: Any = importlib.import_module("skl2onnx")
    types: Any = importlib.import_module("skl2onnx.common.data_types")
    images, labels = datasets.load_digits(return_X_y=True)
    network = networks.MLPClassifier((64, 64), max_iter=60, random_state=0).fit(images, labels)
    model = converter.convert_sklearn(
        network,
        initial_types=[("pixels", types.FloatTensorType([None, 64]))],
        options={id(network): {"zipmap": False}},
        target_opset=15,
    )
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path
