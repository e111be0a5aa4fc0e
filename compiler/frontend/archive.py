"""``.pt2`` archives: a Program on disk, loadable by plain ``torch.export.load`` too."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.pt2_archive._package import load_pt2

from compressc.dynamic_axes import symbol_of
from compressc.error_text import name_error
from compressc.errors import CaptureError, GoalError, HandOverError, PlanError
from compressc.frontend.archive_safety import CheckedArchive, rebuild_archive
from compressc.frontend.input_shape import Shape, make_example_inputs
from compressc.frontend.silence import quiet
from compressc.frontend.tracing import program_from_exported
from compressc.kept_nodes import ONNX_NODE, decode_node
from compressc.program import Constraints, HistoryLine, Program
from compressc.writing import write_atomically

_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
    GoalError,
)
_NOTE = "compressc.json"
_FORMAT = "compressc-program-1"


def save(program: Program, path: str | Path) -> None:
    """Write a program as ``.pt2``, with names, axes, constraints and history beside the graph.

    Raises:
        PlanError: if decisions are pending; lower the program first.
        CaptureError: if ``torch.export`` refuses the graph, or it holds nodes that were kept from
            an ONNX file.
        OutputError: if the file cannot be written.
    """
    if program.plan:
        raise PlanError(
            f"{path}: decisions are not applied yet; call compressc.lower(program) "
            "and save the result"
        )
    _refuse_kept_nodes(program, path)
    shapes = _dynamic_shapes(program.dynamic_axes)
    buffer = io.BytesIO()
    try:
        with quiet(), torch.no_grad():
            exported = torch.export.export(
                program.graph_module, program.example_inputs, dynamic_shapes=shapes
            )
            torch.export.save(exported, buffer, extra_files={_NOTE: _describe(program)})
    except Exception as error:
        raise CaptureError(
            f"{path}: torch.export cannot write this program ({name_error(error)})"
        ) from error
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))


def _refuse_kept_nodes(program: Program, path: str | Path) -> None:
    for node in program.graph_module.graph.nodes:
        if node.target == ONNX_NODE:
            operator = decode_node(str(node.args[1])).operator
            raise CaptureError(
                f"{path}: the network holds a node that is kept from its ONNX file ({operator}), "
                "which PyTorch cannot run without compressc; write ONNX (-o) only"
            )


def load_archive(
    path: str | Path, *, shapes: Sequence[Shape] | None = None, batch: int = 2, seed: int = 0
) -> Program:
    """Read a ``.pt2``, ours or not, without running anything from it.

    Args:
        path: the archive.
        shapes: one shape per input, without the batch axis, if the archive has no example inputs
            or others are wanted.
        batch: batch size of the example inputs made from ``shapes``.
        seed: seed of these inputs.

    Raises:
        HandOverError: if the archive is damaged, would run code when loaded, or carries no example
            inputs and ``shapes`` is not given.
    """
    archive = rebuild_archive(Path(path))
    exported = _deserialize(archive)
    inputs = None
    if shapes is not None:
        inputs = make_example_inputs(shapes, batch=batch, seed=seed)
    elif not archive.has_inputs:
        raise HandOverError("it carries no example inputs; pass --input-shape, such as 3,224,224")
    program = program_from_exported(exported, example_inputs=inputs)
    note = archive.extra.get(_NOTE)
    if note is not None:
        return _restore(program, note)
    return replace(
        program, history=(HistoryLine("load", {"file": Path(path).name}), *program.history)
    )


def _deserialize(archive: CheckedArchive) -> ExportedProgram:
    # load_pt2 is what torch.export.load calls; called directly, it does not hide its errors.
    try:
        with quiet():
            contents = load_pt2(io.BytesIO(archive.content))
    except Exception as error:
        raise HandOverError(
            f"its program cannot be read by torch {torch.__version__} ({name_error(error)}); save "
            "it again with this version"
        ) from error
    exported: ExportedProgram = contents.exported_programs["model"]
    return exported


def _dynamic_shapes(dynamic_axes: Sequence[Mapping[int, str]]) -> tuple[Any, ...]:
    """Return torch's form of the axes: those of one name vary together."""
    named: dict[str, Any] = {}
    rows: list[dict[int, Any] | None] = []
    for axes in dynamic_axes:
        row: dict[int, Any] = {}
        for axis, name in axes.items():
            # The batch may be anything from 1; bounds of other axes follow from the graph.
            if axis == 0:
                row[axis] = named.setdefault(name, Dim(symbol_of(name), min=1, max=65535))
            else:
                row[axis] = Dim.DYNAMIC
        rows.append(row or None)
    return tuple(rows)


def _describe(program: Program) -> str:
    document = {
        "format": _FORMAT,
        "input_names": list(program.input_names),
        "output_names": list(program.output_names),
        "dynamic_axes": [
            {str(axis): name for axis, name in axes.items()} for axes in program.dynamic_axes
        ],
        "constraints": asdict(program.constraints),
        "sparse_weights": list(program.sparse_weights),
        "history": [
            {
                "name": step.name,
                "settings": dict(step.settings),
                "seconds": step.seconds,
                "notes": list(step.notes),
            }
            for step in program.history
        ],
    }
    return json.dumps(document, indent=1, default=_plain)


def _plain(value: Any) -> Any:
    """Return the JSON form of values that settings may hold: frozen mappings, paths, numbers."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "size", 0) == 1 else str(value)


def _restore(program: Program, note: str) -> Program:
    try:
        document = json.loads(note)
        if document["format"] != _FORMAT:
            raise HandOverError(
                f"written by another compressc ({str(document['format'])[:40]}); use that version"
            )
        inputs = tuple(_name(name) for name in document["input_names"])
        outputs = tuple(_name(name) for name in document["output_names"])
        axes = tuple(
            {_axis(axis): _name(name) for axis, name in row.items()}
            for row in document["dynamic_axes"]
        )
        rules = document["constraints"]
        constraints = Constraints(
            keep=tuple(_name(pattern) for pattern in rules["keep"]),
            multiple_of=_whole(rules["multiple_of"]),
            statistics=_name(rules["statistics"]),
        )
        sparse_weights = tuple(_name(name) for name in document.get("sparse_weights", ()))
        history = tuple(
            HistoryLine(
                _name(step["name"]),
                dict(step["settings"]),
                _seconds(step["seconds"]),
                tuple(_name(text) for text in step["notes"]),
            )
            for step in document["history"]
        )
    except _MALFORMED as error:
        raise HandOverError(f"its member {_NOTE} is damaged; save the program again") from error
    ranks = [example.dim() for example in program.example_inputs]
    foreign = len(inputs) != len(program.input_names) or len(axes) != len(inputs)
    if foreign or any(axis >= rank for row, rank in zip(axes, ranks, strict=True) for axis in row):
        raise HandOverError(f"its member {_NOTE} belongs to another model; save the program again")
    if len(outputs) != len(program.output_names):
        raise HandOverError(f"its member {_NOTE} belongs to another model; save the program again")
    if not set(sparse_weights) <= set(program.state()):
        raise HandOverError(f"its member {_NOTE} belongs to another model; save the program again")
    return replace(
        program,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=axes,
        constraints=constraints,
        history=history,
        sparse_weights=sparse_weights,
    )


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError("no printable text")
    return value


def _axis(text: Any) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal():
        raise TypeError("no axis")
    return int(text)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError("no time")
    return seconds
