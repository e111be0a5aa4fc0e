"""Calibration samples: real inputs that tell a quantiser which values to expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from compressc.array_types import Array, IntArray
from compressc.errors import DataError
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


class ReadsInputs(Protocol):
    """What samples are held against: a Program, or an ONNX file that is taken as it is."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        ...

    @property
    def example_inputs(self) -> tuple[Any, ...]:
        """An example of each, with its shape and type."""
        ...

    @property
    def dynamic_axes(self) -> tuple[Mapping[int, str], ...]:
        """The axes of each whose size may vary, by name."""
        ...


def draw_samples(model: ReadsInputs, settings: Int8, task: Scored | None, seed: int) -> Samples:
    """Read the samples that the settings name, or take them from the task.

    Where not every input has samples on its first axis (a state with layers there, a number), a
    file may hold whole runs: arrays with one more axis in front, the runs.

    Raises:
        DataError: if there are none, or they do not fit the model.
    """
    if not model.input_names:
        raise DataError("the network takes no input, so nothing can be calibrated on")
    if settings.samples is not None:
        source = str(settings.samples)
        arrays = read_samples(settings.samples, model)
        if _are_runs(arrays, model):
            return _draw_runs(source, arrays, model, settings.count, seed)
    elif isinstance(task, GivesSamples):
        source = "the training split"
        if isinstance(task, ComparesWithOriginal):
            source = task.inputs_from
        arrays = _from_task(model, task, settings, seed)
    else:
        raise DataError("int8 needs samples; give data, or a file of samples")
    check_samples(source, arrays, model)
    used, judged, held_back = _split(
        len(arrays[0]), settings.count, seed, max(2, _fixed_batch(model) or 0)
    )
    return Samples(
        tuple(_batches(model, source, [array[used] for array in arrays])),
        tuple(_batches(model, source, [array[judged] for array in arrays])),
        len(used),
        source,
        held_back,
    )


def _split(total: int, count: int, seed: int, fewest: int) -> tuple[IntArray, IntArray, bool]:
    """Return what to calibrate on, what to judge by, and whether these are apart."""
    # Stored samples may be sorted by class.
    order = np.random.default_rng(seed).permutation(total)
    kept = int(_HELD_BACK * total)
    held_back = kept >= fewest
    used = (order[kept:] if held_back else order)[:count]
    return used, (order[:kept] if held_back else order)[:count], held_back


def _are_runs(arrays: Sequence[Array], model: ReadsInputs) -> bool:
    """Return whether arrays hold whole runs: one more axis than the inputs have."""
    if all(0 in axes for axes in model.dynamic_axes):
        return False
    ranks = [len(example.shape) for example in model.example_inputs]
    return all(array.ndim == rank + 1 for array, rank in zip(arrays, ranks, strict=True))


def _draw_runs(
    source: str, arrays: Sequence[Array], model: ReadsInputs, count: int, seed: int
) -> Samples:
    # Each run is checked as samples are: its first axis is nothing else than theirs.
    counts = {len(array) for array in arrays}
    if len(counts) != 1 or 0 in counts:
        raise DataError(f"{source}: arrays hold {sorted(counts)} runs; give as many of each input")
    # One run of numbers is a number to numpy, and an array without axes to ONNX Runtime.
    whole = [[np.asarray(run) for run in array] for array in arrays]
    for place, runs in enumerate(whole):
        for index, run in enumerate(runs):
            runs[index] = _fitting(source, run, model, place)
    used, judged, held_back = _split(counts.pop(), count, seed, 2)
    feeds = [dict(zip(model.input_names, run, strict=True)) for run in zip(*whole, strict=True)]
    return Samples(
        tuple(feeds[index] for index in used),
        tuple(feeds[index] for index in judged),
        len(used),
        source,
        held_back,
    )


def read_samples(path: str | Path, model: ReadsInputs) -> list[Array]:
    """Read an ``.npz`` with an array per input, samples on the first axis.

    Raises:
        DataError: if the file is not readable, or lacks an input.
    """
    try:
        arrays = StoredArrays(path)
        members = {name.removeprefix(_STORED): name for name in arrays}
        names = model.input_names
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


def _from_task(model: ReadsInputs, task: GivesSamples, settings: Int8, seed: int) -> list[Array]:
    asked = round(settings.count / (1 - _HELD_BACK))
    parts: list[Sequence[Tensor]] = list(task.calibration_batches(asked, seed))
    if not parts:
        raise DataError("the task gives no calibration samples; give more training data")
    if any(len(part) != len(model.example_inputs) for part in parts):
        raise DataError(
            f"the task's calibration batches have {len(parts[0])} input(s), the model reads "
            f"{len(model.example_inputs)}"
        )
    return [
        np.concatenate([tensor.detach().cpu().numpy() for tensor in column])
        for column in zip(*parts, strict=True)
    ]


def check_samples(source: str, arrays: list[Array], model: ReadsInputs) -> None:
    """Check counts, shapes and types; floats of other widths are converted in place.

    Args:
        source: where the arrays come from, for the error.
        arrays: one for each input, samples on the first axis.
        model: what reads them.

    Raises:
        DataError: if they do not fit.
    """
    for place, array in enumerate(arrays):
        arrays[place] = _fitting(source, array, model, place)
        if array.ndim == 0 or len(array) == 0:
            raise DataError(
                f"{source}: {model.input_names[place]} holds no sample; give at least one, better "
                "a hundred"
            )
        if len(array) != len(arrays[0]):
            raise DataError(
                f"{source}: {model.input_names[place]} has {len(array)} samples, the first input "
                f"{len(arrays[0])}"
            )


def _fitting(source: str, array: Array, model: ReadsInputs, place: int) -> Array:
    """Return an array as one input reads it: of its shape but for the samples, and of its type."""
    name, axes = model.input_names[place], model.dynamic_axes[place]
    example = model.example_inputs[place]
    where = f"{source}: {name}"
    expected = tuple(example.shape)
    fits = array.ndim == len(expected) and all(
        axis == 0 or axis in axes or array.shape[axis] == expected[axis]
        for axis in range(array.ndim)
    )
    if not fits:
        shown = "x".join("N" if axis in axes else str(n) for axis, n in enumerate(expected))
        raise DataError(f"{where} has shape {array.shape}; the model reads {shown}")
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
    return array.astype(kind, copy=False)


def _fixed_batch(model: ReadsInputs) -> int | None:
    """Return the batch that the model is bound to, None where it may be any."""
    dynamic = all(0 in axes for axes in model.dynamic_axes)
    return None if dynamic else int(model.example_inputs[0].shape[0])


def _batches(model: ReadsInputs, source: str, arrays: Sequence[Array]) -> Iterator[Feeds]:
    """Cut samples into batches of the size that the model reads."""
    fixed, total = _fixed_batch(model), len(arrays[0])
    size = fixed or _BATCH
    if fixed is not None:
        if total < size:
            raise DataError(f"{source}: {total} sample(s), and the model reads {size} at once")
        total -= total % size
    for start in range(0, total, size):
        yield {
            name: array[start : min(start + size, total)]
            for name, array in zip(model.input_names, arrays, strict=True)
        }
