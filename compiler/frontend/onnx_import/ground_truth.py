"""Ground truth: the imported Program computes what ONNX Runtime computes from the given file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressc.errors import ConversionError, HandOverError, VerificationError
from compressc.frontend.onnx_import.call import Value
from compressc.frontend.onnx_import.graph import GraphNode
from compressc.frontend.onnx_import.known import Known
from compressc.frontend.onnx_import.network import OnnxNetwork
from compressc.parity.onnx_parity import Parity, compare
from compressc.program import HistoryLine, Program
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import create_session, run_session

_BATCHES = (1, 2, 5)
# A single operator's result differs by rounding only; relative to its largest value.
_NODE_TOLERANCE = 1e-4


def check_against_file(
    program: Program, network: OnnxNetwork, model: onnx.ModelProto, seed: int
) -> Program:
    """Return the program with a note of how near it is to the file, on several batches.

    Raises:
        VerificationError: if an output differs by more than float32 rounding; it names the first
            node whose own result differs.
        ConversionError: if ONNX Runtime cannot run the file on the example inputs.
    """
    try:
        parity = compare(
            program.module().eval(),
            model,
            program.example_inputs,
            batches=_BATCHES,
            dynamic_axes=program.dynamic_axes,
            seed=seed,
        )
    except VerificationError as error:
        raise ConversionError(f"the file cannot be held against ONNX Runtime: {error}") from error
    if not parity.passed:
        raise VerificationError(_blame(parity, network, model, program.example_inputs))
    note = (
        f"equal to the file in ONNX Runtime at batches {', '.join(map(str, parity.batches))}: "
        f"largest difference {parity.max_error:.1e}, {parity.tolerance:.1e} allowed"
    )
    return program.with_line(HistoryLine("import", notes=(note,)))


def _blame(
    parity: Parity, network: OnnxNetwork, model: onnx.ModelProto, inputs: Sequence[Tensor]
) -> str:
    worst = max(parity.outputs, key=lambda output: (not output.passed, output.severity))
    text = (
        f"the imported network does not compute what ONNX Runtime computes from the file: output "
        f"'{worst.name}' is off by {worst.max_error:.1e} where rounding explains "
        f"{worst.tolerance:.1e}"
    )
    node = find_first_difference(network, model, inputs)
    if node is None:
        return f"{text}; no single node differs, so the file amplifies rounding; nothing was done"
    return f"{text}; the first node that differs is {node}; please report this file"


def find_first_difference(
    network: OnnxNetwork, model: onnx.ModelProto, inputs: Sequence[Tensor]
) -> GraphNode | None:
    """Return the first node that computes something else than ONNX Runtime on the same inputs.

    Every node is given what ONNX Runtime gives it, so that rounding does not add up.

    Raises:
        HandOverError: if ONNX Runtime cannot run the file.
    """
    truth = _run_all(model, inputs)
    differing: list[GraphNode] = []

    def hold_against(node: GraphNode, results: Sequence[Value]) -> Sequence[Value]:
        replaced = list(results)
        for index, name in enumerate(node.outputs[: len(results)]):
            result = results[index]
            if name not in truth or result is None:
                continue
            if not _agree(result, truth[name]):
                differing.append(node)
            if isinstance(result, Tensor):
                replaced[index] = torch.from_numpy(np.array(truth[name]))
        return replaced

    network.watch = hold_against
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        network.watch = None
    return differing[0] if differing else None


def _agree(result: Tensor | Known, truth: NDArray[Any]) -> bool:
    array = result.numbers if isinstance(result, Known) else result.detach().numpy()
    if array.shape != truth.shape:
        return False
    if truth.dtype.kind != "f":
        return bool((array == truth).all())
    largest = float(np.abs(truth[np.isfinite(truth)]).max(initial=0.0))
    return bool(np.allclose(array, truth, rtol=0.0, atol=_NODE_TOLERANCE * largest, equal_nan=True))


def _run_all(model: onnx.ModelProto, inputs: Sequence[Tensor]) -> Mapping[str, NDArray[Any]]:
    """Return every value of the graph, as ONNX Runtime computes it."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    listed = {value.name for value in wide.graph.output}
    for node in wide.graph.node:
        for name in node.output:
            if name and name not in listed:
                wide.graph.output.append(onnx.ValueInfoProto(name=name))
                listed.add(name)
    try:
        session = create_session(wide.SerializeToString(), "the file", optimize=False)
        feeds = {
            value.name: tensor.numpy()
            for value, tensor in zip(session.get_inputs(), inputs, strict=True)
        }
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, run_session(session, feeds, "the file"), strict=True))
    except RuntimeFailure as error:
        raise HandOverError(f"ONNX Runtime cannot run it: {error}") from error
