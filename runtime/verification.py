"""Stored reference inputs and outputs against ONNX Runtime on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Shapes, make_inputs
from compressc.runtime.int8_weights import saturation_warning
from compressc.runtime.machine import Machine, describe_machine
from compressc.runtime.output_parts import flatten_output
from compressc.runtime.plain_text import printable
from compressc.runtime.session import check_file, open_session, run_session
from compressc.runtime.stored_arrays import StoredArrays

# Kernels of other processors add in another order; float32 networks differ by 1e-6 to 1e-5.
DEFAULT_TOLERANCE = 1e-4

_FORMAT = "compressc-verify-1"
_INPUT, _OUTPUT, _NOTE = "input:", "output:", "compressc"
_NOTE_LENGTH = 200


@dataclass(frozen=True)
class OutputDrift:
    """How far one output lies from its reference.

    Attributes:
        name: the output.
        shape: of the reference.
        error: the largest difference of an element; None where elements are not numbers, or the
            shapes differ.
        scale: the reference's largest distance from its mean (its magnitude where it is constant).
        allowed: the largest difference that passes: tolerance times scale; 0 for integers.
        problem: what is wrong in words; empty where the output passes.
    """

    name: str
    shape: tuple[int, ...]
    error: float | None
    scale: float
    allowed: float
    problem: str

    @property
    def passed(self) -> bool:
        """Whether the output is close enough."""
        return not self.problem


@dataclass(frozen=True)
class Verification:
    """The outcome of running one model against its reference.

    Attributes:
        path, reference: the two files.
        tolerance: share of an output's scale that it may differ by.
        threads: threads of each operator.
        outputs: one per stored output.
        made_with: where the reference was made, as text; empty if the file does not say.
        machine: where it was checked.
        taken_at: UTC, ISO 8601.
        notes: what the reader of the result must know, one line each.
    """

    path: str
    reference: str
    tolerance: float
    threads: int
    outputs: tuple[OutputDrift, ...]
    made_with: str
    machine: Machine
    taken_at: str
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every output is close enough."""
        return all(output.passed for output in self.outputs)

    def to_json(self) -> str:
        """Return the result as a JSON document."""
        document = {"format": _FORMAT, "passed": self.passed, **asdict(self)}
        document["machine"] = self.machine.to_dict()
        return json.dumps(document, indent=1)


def make_reference(
    path: str | Path,
    *,
    batch: int = 1,
    seed: int = 0,
    threads: int = 1,
    shapes: Shapes | None = None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Run a model here and return what :func:`write_reference` stores.

    Args:
        path: the ONNX file.
        batch: size of symbolic first axes.
        seed: of the inputs.
        threads: threads of each operator.
        shapes: sizes of other symbolic axes, see :func:`compressc.runtime.inputs.resolve_shapes`.
        inputs: real inputs instead of random ones.

    Raises:
        RuntimeFailure: if the model cannot be opened or run.
    """
    session = open_session(path, threads)
    feeds = dict(inputs) if inputs is not None else make_inputs(session, batch, seed, shapes)
    names = [item.name for item in session.get_outputs()]
    outputs = run_session(session, feeds, str(path))
    machine = describe_machine()
    note = {
        "machine": machine.cpu_model,
        "onnxruntime": machine.onnxruntime,
        "seed": None if inputs is not None else seed,
    }
    arrays: dict[str, NDArray[Any]] = {_NOTE: np.array(json.dumps(note))}
    for prefix, values in ((_INPUT, feeds), (_OUTPUT, _flatten(names, outputs))):
        for name, value in values.items():
            # Object arrays of strings would need pickle to be read back.
            arrays[prefix + name] = value.astype(str) if value.dtype == object else value
    return arrays


def write_reference(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> None:
    """Write a reference in the format of ``.npz`` to exactly this path, whatever its ending."""
    with Path(path).open("wb") as stream:
        # numpy's stubs take the arrays by keyword only for a flag of their own.
        np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]


def verify(
    path: str | Path,
    reference: str | Path,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    threads: int = 1,
) -> Verification:
    """Run a model on stored inputs and compare with the stored outputs.

    An output passes when no element differs by more than ``tolerance`` times the output's scale,
    which is the largest distance of a reference element from their mean: an output that hardly
    varies around a large constant is judged by its variation. Integers, booleans and strings must
    be equal. Sequences and maps are compared entry by entry.

    Args:
        path: the ONNX file.
        reference: ``.npz`` with ``input:NAME`` and ``output:NAME`` arrays; plain names do, too.
        tolerance: see above.
        threads: threads of each operator.

    Raises:
        RuntimeFailure: if a file cannot be read, the model does not run, or the two do not belong
            together.
    """
    if not 0 <= tolerance < float("inf"):
        raise RuntimeFailure(f"tolerance {tolerance:g}: must be 0 or more, such as 1e-4")
    session = open_session(path, threads)
    check_file(reference)
    arrays = StoredArrays(reference)
    feeds = {}
    for item in session.get_inputs():
        feeds[item.name] = _stored(arrays, _INPUT, item.name, path, reference)
        if item.type == "tensor(string)":
            feeds[item.name] = feeds[item.name].astype(object)
    names = [item.name for item in session.get_outputs()]
    outputs = _flatten(names, run_session(session, feeds, str(path)))
    compared = [n for n in outputs if _OUTPUT + n in arrays or n in arrays]
    if not compared:
        raise RuntimeFailure(
            f"{reference}: holds none of the outputs of {path} ({', '.join(names)}); "
            "make it anew with compressc verify --store"
        )
    expected = [_stored(arrays, _OUTPUT, name, path, reference) for name in compared]
    missing = [
        OutputDrift(name, arrays[_OUTPUT + name].shape, None, 0.0, 0.0, "is not computed any more")
        for name in (key.removeprefix(_OUTPUT) for key in arrays if key.startswith(_OUTPUT))
        if name not in outputs and name.partition("[")[0] in names
    ]
    return Verification(
        path=str(path),
        reference=str(reference),
        tolerance=tolerance,
        threads=threads,
        outputs=(
            *(
                compare_output(name, outputs[name], expected_value, tolerance)
                for name, expected_value in zip(compared, expected, strict=True)
            ),
            *missing,
        ),
        made_with=_origin(arrays),
        machine=describe_machine(),
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=tuple(filter(None, [saturation_warning(path)])),
    )


def compare_output(
    name: str, computed: NDArray[Any], expected: NDArray[Any], tolerance: float
) -> OutputDrift:
    """Compare one output with its reference; see :func:`verify`."""
    shape = tuple(expected.shape)
    if computed.shape != expected.shape:
        problem = f"has shape {_show(computed.shape)}, the reference {_show(shape)}"
        return OutputDrift(name, shape, None, 0.0, 0.0, problem)
    if not np.issubdtype(expected.dtype, np.floating):
        if np.issubdtype(expected.dtype, np.number) and np.issubdtype(computed.dtype, np.number):
            error = float(np.abs(computed.astype(float) - expected.astype(float)).max(initial=0.0))
        else:
            error = None
        same = np.array_equal(computed.astype(expected.dtype), expected)
        return OutputDrift(name, shape, error, 0.0, 0.0, "" if same else "differs")
    ours, theirs = computed.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(np.where(finite, 0, theirs), np.where(finite, 0, ours), equal_nan=True):
        return OutputDrift(name, shape, None, 0.0, 0.0, "other places are infinite or NaN")
    ours, theirs = ours[finite], theirs[finite]
    if not np.isfinite(ours).all():
        return OutputDrift(name, shape, None, 0.0, 0.0, "is infinite or NaN where it must not be")
    scale = float(np.abs(theirs - theirs.mean()).max(initial=0.0)) if theirs.size else 0.0
    scale = scale or float(np.abs(theirs).max(initial=0.0)) or 1.0
    error = float(np.abs(ours - theirs).max(initial=0.0))
    problem = "" if error <= tolerance * scale else "differs by more than allowed"
    return OutputDrift(name, shape, error, scale, tolerance * scale, problem)


def _stored(
    arrays: Mapping[str, NDArray[Any]], prefix: str, name: str, path: str | Path, file: str | Path
) -> NDArray[Any]:
    for key in (prefix + name, name):
        if key in arrays:
            return arrays[key]
    known = ", ".join(key for key in arrays if key != _NOTE) or "nothing"
    raise RuntimeFailure(
        f"{file}: lacks {prefix[:-1]} '{name}' of {path}; it holds {known}. Make it anew with "
        "compressc verify --store"
    )


def _flatten(names: Sequence[str], values: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Return the outputs as arrays by name; see :func:`flatten_output`."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in zip(names, values, strict=True):
        arrays.update(flatten_output(name, value))
    return arrays


def _origin(arrays: Mapping[str, NDArray[Any]]) -> str:
    try:
        note = json.loads(str(arrays[_NOTE]))
        text = f"{note['machine']}, onnxruntime {note['onnxruntime']}"
    except (KeyError, ValueError, TypeError, RecursionError, RuntimeFailure):
        return ""
    # The note is anybody's text.
    return printable(text[:_NOTE_LENGTH])


def _show(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of a single number"
