"""Calibration samples: real inputs that tell a quantiser which values to expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from compressc.array_types import Array
from compressc.errors import DataError
from compressc.program import Program
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.stored_arrays import StoredArrays
from compressc.settings import Int8
from compressc.tasks.capabilities import ComparesWithOriginal, GivesSamples
from compressc.tasks.protocol import Scored

# `compressc verify --store` puts this before the names of inputs.
_STORED = "input:"
# Of the samples drawn, this share is held back to judge the drift on.
_HELD_BACK = 0.2
_BATCH = 16

Feeds = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Samples:
    """Batches of real inputs.

    Attributes:
        calibration: what ranges are taken from.
        judging: what the drift is judged on.
        count: samples in ``calibration``.
        source: where they come from, for people.
        held_back: whether ``judging`` holds other samples than ``calibration``.
    """

    calibration: tuple[Feeds, ...]
    judging: tuple[Feeds, ...]
    count: int
    source: str
    held_back: bool


def draw_samples(program: Program, settings: Int8, task: Scored | None, seed: int) -> Samples:
    """Read the samples that the settings name, or take them from the task.

    Raises:
        DataError: if there are none, or they do not fit the model.
    """
    if settings.samples is not None:
        source = str(settings.samples)
        arrays = read_samples(settings.samples, program)
    elif isinstance(task, GivesSamples):
        source = "the training split"
        if isinstance(task, ComparesWithOriginal):
            source = task.inputs_from
        arrays = _from_task(program, task, settings, seed)
    else:
        raise DataError("int8 needs samples; give data, or a file of samples")
    check_samples(source, arrays, program)
    # Stored samples may be sorted by class.
    order = np.random.default_rng(seed).permutation(len(arrays[0]))
    kept = int(_HELD_BACK * len(order))
    held_back = kept >= max(2, _fixed_batch(program) or 0)
    used = (order[kept:] if held_back else order)[: settings.count]
    judged = (order[:kept] if held_back else order)[: settings.count]
    return Samples(
        tuple(_batches(program, source, [array[used] for array in arrays])),
        tuple(_batches(program, source, [array[judged] for array in arrays])),
        len(used),
        source,
        held_back,
    )


def read_samples(path: str | Path, program: Program) -> list[Array]:
    """Read an ``.npz`` with an array per input, samples on the first axis.

    Raises:
        DataError: if the file is not readable, or lacks an input.
    """
    try:
        arrays = StoredArrays(path)
        members = {name.removeprefix(_STORED): name for name in arrays}
        names = program.input_names
        if len(names) == 1 and len(members) == 1:
            return list(arrays.values())
        lacking = [name for name in names if name not in members]
        if lacking:
            raise DataError(
                f"{path}: lacks {', '.join(lacking)}; it holds {', '.join(members) or 'nothing'}; "
                f"store one array for each input: {', '.join(names)}"
            )
        return [arrays[members[name]] for name in names]
    except RuntimeFailure as error:
        raise DataError(str(error)) from error


def _from_task(program: Program, task: GivesSamples, settings: Int8, seed: int) -> list[Array]:
    asked = round(settings.count / (1 - _HELD_BACK))
    parts: list[Sequence[Tensor]] = list(task.calibration_batches(asked, seed))
    if not parts:
        raise DataError("the task gives no calibration samples; give more training data")
    if any(len(part) != len(program.example_inputs) for part in parts):
        raise DataError(
            f"the task's calibration batches have {len(parts[0])} input(s), the model reads "
            f"{len(program.example_inputs)}"
        )
    return [
        np.concatenate([tensor.detach().cpu().numpy() for tensor in column])
        for column in zip(*parts, strict=True)
    ]


def check_samples(source: str, arrays: list[Array], program: Program) -> None:
    """Check counts, shapes and types; floats of other widths are converted in place.

    Args:
        source: where the arrays come from, for the error.
        arrays: one for each input, samples on the first axis.
        program: what reads them.

    Raises:
        DataError: if they do not fit.
    """
    for place, (array, example) in enumerate(zip(arrays, program.example_inputs, strict=True)):
        name, axes = program.input_names[place], program.dynamic_axes[place]
        where = f"{source}: {name}"
        expected = tuple(example.shape)
        fits = array.ndim == len(expected) and all(
            axis == 0 or axis in axes or array.shape[axis] == expected[axis]
            for axis in range(array.ndim)
        )
        if not fits:
            shown = "x".join("N" if axis in axes else str(n) for axis, n in enumerate(expected))
            raise DataError(f"{where} has shape {array.shape}; the model reads {shown}")
        if len(array) == 0:
            raise DataError(f"{where} holds no sample; give at least one, better a hundred")
        if len(array) != len(arrays[0]):
            raise DataError(f"{where} has {len(array)} samples, the first input {len(arrays[0])}")
        kind = np.dtype(str(example.dtype).removeprefix("torch."))
        if np.issubdtype(kind, np.floating) and not np.issubdtype(array.dtype, np.floating):
            raise DataError(
                f"{where} is {array.dtype}; store what the model reads: {kind}, normalised as in "
                "training"
            )
        if not np.can_cast(array.dtype, kind, "same_kind"):
            raise DataError(f"{where} is {array.dtype}; the model reads {kind}")
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise DataError(f"{where} holds values that are not finite (NaN or infinity)")
        arrays[place] = array.astype(kind, copy=False)


def _fixed_batch(program: Program) -> int | None:
    """Return the batch that the model is bound to, None where it may be any."""
    dynamic = all(0 in axes for axes in program.dynamic_axes)
    return None if dynamic else int(program.example_inputs[0].shape[0])


def _batches(program: Program, source: str, arrays: Sequence[Array]) -> Iterator[Feeds]:
    """Cut samples into batches of the size that the model reads."""
    fixed, total = _fixed_batch(program), len(arrays[0])
    size = fixed or _BATCH
    if fixed is not None:
        if total < size:
            raise DataError(f"{source}: {total} sample(s), and the model reads {size} at once")
        total -= total % size
    for start in range(0, total, size):
        yield {
            name: array[start : min(start + size, total)]
            for name, array in zip(program.input_names, arrays, strict=True)
        }
