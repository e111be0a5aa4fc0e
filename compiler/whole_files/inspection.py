"""Inspection of an ONNX file whose network cannot be converted: what is in it, and why not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from compressc.frontend.input_shape import Shape
from compressc.runtime.inputs import input_dims
from compressc.runtime.onnx_cost import LayerCost, count_cost, load_model
from compressc.runtime.onnx_shapes import subgraphs
from compressc.runtime.session import open_session
from compressc.whole_files.inputs import assign_shapes, whole_shapes


@dataclass(frozen=True)
class PortView:
    """One input or output: its name, ONNX Runtime's word for its type, and its axes."""

    name: str
    type: str
    axes: tuple[int | str | None, ...]


@dataclass(frozen=True)
class FileInspection:
    """Everything that ``compressc inspect`` shows of a file that is taken as it is.

    Attributes:
        reason: why nothing can be removed from it.
        inputs, outputs: in the order of the file.
        opsets: versions of operator sets, by domain.
        producer: what wrote it.
        macs: per sample; what was counted of them.
        params: stored weights.
        size_bytes: the file with its external weights.
        operators: how often each stands in the file, graphs inside nodes included, the most
            frequent first.
        layers: the nodes that run.
        uncounted: what could not be counted, and why.
    """

    reason: str
    inputs: tuple[PortView, ...]
    outputs: tuple[PortView, ...]
    opsets: Mapping[str, int]
    producer: str
    macs: int
    params: int
    size_bytes: int
    operators: Mapping[str, int]
    layers: tuple[LayerCost, ...]
    uncounted: tuple[str, ...]

    def to_json(self) -> str:
        """Return the inspection as JSON text."""
        return json.dumps({"format": "compressc-file-inspection-1", **asdict(self)}, indent=1)


def inspect_file(path: Path, reason: str, shapes: Sequence[Shape] | None = None) -> FileInspection:
    """Look at a file as it stands.

    Args:
        path: the file.
        reason: why its network cannot be converted.
        shapes: of one example of each input, where the file leaves sizes open.

    Raises:
        RuntimeFailure: if it cannot be read, opened or counted.
        HandOverError: if the shapes do not fit.
    """
    session = open_session(path)
    dims = input_dims(session)
    model = load_model(path)
    cost = count_cost(path, 1, whole_shapes(dims, assign_shapes(dims, shapes), 1))
    operators = Counter(_operators(model.graph))
    return FileInspection(
        reason=reason,
        inputs=tuple(PortView(x.name, x.type, dims[x.name]) for x in session.get_inputs()),
        outputs=tuple(
            PortView(x.name, x.type, tuple(x.shape or ())) for x in session.get_outputs()
        ),
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        macs=round(cost.macs / cost.batch),
        params=cost.params,
        size_bytes=cost.size_bytes,
        operators=dict(operators.most_common()),
        layers=cost.layers,
        uncounted=cost.uncounted,
    )


def _operators(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        standard = node.domain in ("", "ai.onnx")
        yield node.op_type if standard else f"{node.domain}.{node.op_type}"
        for _, inner in subgraphs(node):
            yield from _operators(inner)
