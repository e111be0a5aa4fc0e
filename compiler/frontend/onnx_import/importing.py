"""Importing: from an ONNX file or ModelProto to a Program, held against the file itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from onnx import version_converter

from compressc.error_text import quote_error
from compressc.errors import CaptureError, CompresscError, ConversionError, VerificationError
from compressc.frontend.input_shape import Shape
from compressc.frontend.onnx_import.batch_axis import Example, make_example
from compressc.frontend.onnx_import.fixed_batch import free_batch
from compressc.frontend.onnx_import.folding import fold_constants
from compressc.frontend.onnx_import.graph import Graph, read_graph
from compressc.frontend.onnx_import.ground_truth import check_against_file
from compressc.frontend.onnx_import.linear_layers import join_linear_layers
from compressc.frontend.onnx_import.network import OnnxNetwork
from compressc.frontend.onnx_import.reading import check_model, read_model, versions_of
from compressc.frontend.onnx_import.refusals import refuse_other_values, refuse_quantized
from compressc.frontend.onnx_import.signature import read_inputs
from compressc.frontend.onnx_import.untying import untie_vectors
from compressc.frontend.tracing import capture
from compressc.kept_nodes import OPSET
from compressc.program import HistoryLine, Program


def import_file(
    path: Path, *, shapes: Sequence[Shape] | None = None, batch: int = 2, seed: int = 0
) -> Program:
    """Import an ONNX file; see :func:`import_model`.

    Raises:
        HandOverError, ConversionError: as there, and if the file cannot be read.
    """
    program = import_model(read_model(path), shapes=shapes, batch=batch, seed=seed)
    settings = {
        "file": path.name,
        "arch": "onnx",
        "input_shape": [list(x.shape[1:]) for x in program.example_inputs],
    }
    return replace(program, history=(HistoryLine("load", settings), *program.history))


def import_model(
    model: onnx.ModelProto,
    *,
    shapes: Sequence[Shape] | None = None,
    batch: int = 2,
    seed: int = 0,
) -> Program:
    """Return the Program of an ONNX model, equal to it in ONNX Runtime.

    Args:
        model: with its weights inside.
        shapes: one shape per input, without the batch axis, where the file does not tell them.
        batch: batch size of the example inputs; 2 or more keeps the batch size dynamic.
        seed: seed of the example inputs.

    Raises:
        HandOverError: if the model is malformed, or its inputs' shapes are not known.
        ConversionError: if ONNX Runtime runs it, but it is quantised, an operator has no
            counterpart in PyTorch, or the Program does not compute what ONNX Runtime computes.
    """
    model = check_model(model)
    refuse_other_values(model)
    notes = []
    freed = free_batch(model, read_inputs(model), seed)
    if freed is not None:
        model = freed
        notes.append("the file's batch is fixed; in ONNX Runtime its network is the same for any")
    try:
        program = _import(model, model, shapes, batch, seed)
    except (CaptureError, VerificationError) as error:
        raise ConversionError(str(error)) from error
    return program.with_line(HistoryLine("import", notes=tuple(notes))) if notes else program


def _import(
    model: onnx.ModelProto,
    truth: onnx.ModelProto,
    shapes: Sequence[Shape] | None,
    batch: int,
    seed: int,
) -> Program:
    """Import a model and hold it against ``truth``, which is the model, or what it came from."""
    graph = read_graph(model.graph, versions_of(model))
    refuse_quantized(graph)
    graph = untie_vectors(join_linear_layers(fold_constants(graph)))
    example = make_example(read_inputs(model), graph, shapes, batch, seed)
    network = OnnxNetwork(graph).eval()
    # Torch wraps what goes wrong while it traces; here errors speak for themselves.
    with torch.no_grad():
        for inputs in example.eager_inputs():
            network(*inputs)
    if network.keeper.is_outdated and model is truth:
        return _import(_in_newer_opset(model), truth, shapes, batch, seed)
    network.keeper.learning = False
    stiff = _find_stiff(network, example)
    program = _capture(network, graph, example.fixed(frozenset(stiff)))
    if stiff:
        program = program.with_line(HistoryLine("import", notes=tuple(stiff.values())))
    if network.keeper.operators:
        note = f"kept as the file has them: {', '.join(network.keeper.operators)}"
        program = program.with_line(HistoryLine("import", notes=(note,)))
    return check_against_file(program, network, truth, seed)


def _find_stiff(network: OnnxNetwork, example: Example) -> dict[str, str]:
    """Return the axes besides the batch that the file leaves open and its network does not.

    Torch would trace them as varying within bounds that nobody knows: a recogniser of text that
    reduces a height of 48 to 1, and then drops that axis, leaves it open too.
    """
    stiff = {}
    others = {n for axes in example.axes for n in axes.values()} - example.batch_names
    for name in sorted(others):
        try:
            with torch.no_grad():
                network(*example.doubled(name))
        except (CompresscError, RuntimeError, ValueError, IndexError) as error:
            said = quote_error(error).partition("; ")[0]
            stiff[name] = f"the size of '{name}' is fixed: twice of it does not fit ({said})"
    return stiff


def _in_newer_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in the operator set that files are written in.

    Raises:
        CaptureError: if onnx cannot convert it.
    """
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise CaptureError(
            f"it holds nodes that have to be kept, and cannot be converted to operator set {OPSET} "
            f"({quote_error(error)}); export it with a newer operator set"
        ) from error


def _capture(network: OnnxNetwork, graph: Graph, example: Example) -> Program:
    """Capture with as many varying axes as the network allows: all, the batch alone, none."""
    names = frozenset(name for axes in example.axes for name in axes.values())
    attempts = list(dict.fromkeys([names, example.batch_names, frozenset()]))
    notes: list[str] = []
    for varying in attempts:
        try:
            program = capture(
                network,
                example.inputs,
                dynamic_shapes=example.dynamic_shapes(varying) if varying else None,
                input_names=graph.inputs,
            )
        except CaptureError as error:
            if not varying:
                raise
            notes.append(f"sizes {', '.join(sorted(varying))} cannot all vary: {error}")
            continue
        program = replace(
            program,
            dynamic_axes=tuple(
                {axis: own[axis] for axis in traced}
                for own, traced in zip(example.axes, program.dynamic_axes, strict=True)
            ),
            output_names=graph.outputs,
        )
        return program.with_line(HistoryLine("capture", notes=tuple(notes))) if notes else program
    raise AssertionError("the last attempt returns or raises")
