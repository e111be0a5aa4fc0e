"""ONNX-to-PyTorch converters beside the importer: who gives an equal module that can be exported?

For each file of the benchmark of imports: does the converter return a module, does it equal ONNX
Runtime at batches 2 and 3, and can torch.export capture it with the batch left open?

    python benchmarks/onnx_in_converters.py --only 'own:*' 'package:*' -o converters.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import signal
import sys
import tempfile
import types
import warnings
from fnmatch import fnmatchcase
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx_in_files import OnnxFile, list_files

from compressc.frontend.input_shape import parse_input_shape
from compressc.frontend.onnx_import.batch_axis import Example, make_example
from compressc.frontend.onnx_import.graph import read_graph
from compressc.frontend.onnx_import.importing import import_model
from compressc.frontend.onnx_import.reading import check_model, versions_of
from compressc.frontend.onnx_import.signature import read_inputs
from compressc.runtime.session import create_session, run_session

TOOLS = ("onnx2torch", "onnx2pytorch", "compressc")
_TOLERANCE = 1e-3


def try_tool(tool: str, model: onnx.ModelProto, example: Example, shapes: Any) -> str:
    """Return how far a tool comes: "ok", or the stage at which it ends, with the reason."""
    stage = "convert"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            if tool == "compressc":
                import_model(model, shapes=shapes)
                return "ok"
            module = _convert(tool, model).eval()
            stage = "equal"
            for inputs in example.eager_inputs():
                _compare(module, model, inputs)
            stage = "export"
            dynamic = tuple(
                {a: torch.export.Dim.DYNAMIC for a, n in axes.items() if n in example.batch_names}
                for axes in example.axes
            )
            # A forward that takes any number of inputs has one argument to the export.
            many = any(
                p.kind is p.VAR_POSITIONAL for p in signature(module.forward).parameters.values()
            )
            torch.export.export(
                module, example.inputs, dynamic_shapes=(dynamic,) if many else dynamic
            )
    except TimeoutError:
        return f"{stage}: time limit"
    except Exception as error:  # noqa: BLE001 - whatever it raises is the result
        text = " ".join(str(error).split())
        return f"{stage}: {type(error).__name__}: {text[:150]}"
    return "ok"


def _convert(tool: str, model: onnx.ModelProto) -> torch.nn.Module:
    # torchvision's compiled operations do not load beside a CPU torch.
    sys.modules.setdefault(
        "torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations")
    )
    library: Any = importlib.import_module(tool)
    if tool == "onnx2torch":
        module: torch.nn.Module = library.convert(model)
    else:
        module = library.ConvertModel(model, experimental=True)
    return module


def _compare(module: Any, model: onnx.ModelProto, inputs: tuple[torch.Tensor, ...]) -> None:
    session = create_session(model.SerializeToString(), "the file")
    names = [value.name for value in session.get_inputs()]
    feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    truth = run_session(session, feeds, "the file")
    with torch.no_grad():
        results = module(*inputs)
    results = results if isinstance(results, (list, tuple)) else [results]
    for result, expected in zip(results, truth, strict=True):
        largest = float(np.abs(expected).max(initial=0.0))
        np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=_TOLERANCE * largest)


def run_file(file: OnnxFile, limit: int) -> dict[str, Any]:
    """Return what each tool makes of a file."""
    line: dict[str, Any] = {"model": file.key}
    signal.signal(signal.SIGALRM, _stop)
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = check_model(onnx.load(file.prepare(Path(folder))))
        shapes = parse_input_shape(file.shapes) if file.shapes else None
        graph = read_graph(model.graph, versions_of(model))
        example = make_example(read_inputs(model), graph, shapes, 2, 0)
    except Exception as error:  # noqa: BLE001 - no file, nothing to compare
        return {**line, "file": f"{type(error).__name__}: {str(error)[:150]}"}
    for tool in TOOLS:
        signal.alarm(limit)
        line[tool] = try_tool(tool, model, example, shapes)
        signal.alarm(0)
    return line


def _stop(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    """Run what is not in the output file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["*"])
    parser.add_argument("--limit", type=int, default=120, help="seconds for a tool and a file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if arguments.output.exists():
        done = {json.loads(t)["model"] for t in arguments.output.read_text().splitlines()}
    for file in list_files():
        if file.key in done or not any(fnmatchcase(file.key, p) for p in arguments.only):
            continue
        line = run_file(file, arguments.limit)
        with arguments.output.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
