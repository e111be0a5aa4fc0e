"""What an ONNX file reads, told by ONNX Runtime: for files that have no Program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from compressc.array_types import Array
from compressc.errors import HandOverError
from compressc.frontend.input_shape import Shape
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Dims, input_dims, make_inputs
from compressc.runtime.session import create_session

# Runs on made-up inputs, and samples in each, where sizes are open.
_RUNS, _BATCH = 8, 2
RANDOM = "random inputs"


@dataclass(frozen=True, eq=False)
class FileInputs:
    """The inputs of a file, as :class:`compressc.tasks.calibration_samples.ReadsInputs` says.

    Attributes:
        input_names: in the order of the file.
        dynamic_axes: for each, the axes without a fixed size, by name.
        runs: inputs by name, of some runs.
        source: what they are.
        asked: shapes that the user gave, by input, without the batch.
        dims: axes by input, as the file has them.
        problem: why the file does not run on these inputs; empty where it does.
    """

    input_names: tuple[str, ...]
    dynamic_axes: tuple[Mapping[int, str], ...]
    runs: tuple[Mapping[str, Array], ...]
    source: str
    asked: Mapping[str, Shape]
    dims: Mapping[str, Dims]
    problem: str = ""

    @property
    def example_inputs(self) -> tuple[Array, ...]:
        """The inputs of the first run."""
        return tuple(self.runs[0][name] for name in self.input_names)

    def real(self, runs: Sequence[Mapping[str, Array]], source: object) -> FileInputs:
        """Return the same with real inputs in the place of made-up ones."""
        return replace(self, runs=tuple(runs), source=f"samples of {source}")

    def sizes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the user gave, whole, at a batch."""
        return whole_shapes(self.dims, self.asked, batch)


def read_file_inputs(
    model: onnx.ModelProto, shapes: Sequence[Shape] | None, seed: int
) -> FileInputs:
    """Return what a file reads, with made-up examples.

    Args:
        model: with its weights inside.
        shapes: one for each input, or for each that leaves sizes open; without the batch axis.
        seed: of the examples.

    Raises:
        HandOverError: if the shapes do not fit.
        RuntimeFailure: if ONNX Runtime does not open the file.
    """
    session = create_session(model.SerializeToString(), "ONNX Runtime")
    dims = input_dims(session)
    asked = assign_shapes(dims, shapes)
    sizes = whole_shapes(dims, asked, _BATCH)
    runs: tuple[Mapping[str, Array], ...] = ()
    problem = ""
    try:
        runs = tuple(make_inputs(session, _BATCH, seed + run, sizes) for run in range(_RUNS))
    except RuntimeFailure as error:
        problem = str(error)
    return FileInputs(
        tuple(dims),
        tuple(
            {a: str(n or f"{name}_dim{a}") for a, n in enumerate(axes) if not isinstance(n, int)}
            for name, axes in dims.items()
        ),
        runs,
        RANDOM,
        asked,
        dims,
        problem,
    )


def assign_shapes(dims: Mapping[str, Dims], shapes: Sequence[Shape] | None) -> dict[str, Shape]:
    """Return which input each shape is for: one for every input, or for those that need one.

    Raises:
        HandOverError: if there are as many of neither.
    """
    if shapes is None:
        return {}
    open_ones = [n for n, axes in dims.items() if any(not isinstance(a, int) for a in axes[1:])]
    names = list(dims) if len(shapes) == len(dims) else open_ones
    if len(shapes) != len(names):
        raise HandOverError(
            f"{len(shapes)} input shapes were given for {len(dims)} inputs ({', '.join(dims)}); "
            "give one for each, separated by ;"
        )
    return dict(zip(names, shapes, strict=True))


def whole_shapes(
    dims: Mapping[str, Dims], asked: Mapping[str, Shape], batch: int
) -> dict[str, tuple[int, ...]]:
    """Return shapes with their batch axes: of the file's own size if fixed, else ``batch``."""
    named = next((a[0] for a in dims.values() if a and isinstance(a[0], str)), None)
    whole = {}
    for name, shape in asked.items():
        axes = dims[name]
        if axes:
            place = _batch_place(axes, named)
            size = axes[place]
            own = size if isinstance(size, int) else batch
            whole[name] = (*shape[:place], own, *shape[place:])
    return whole


def _batch_place(axes: Dims, named: int | str | None) -> int:
    """Return which axis is the batch; states of recurrent layers have it second, behind layers."""
    if named is not None and named in axes:
        return axes.index(named)
    free = [place for place, size in enumerate(axes) if not isinstance(size, int)]
    return free[0] if len(free) == 1 else 0
