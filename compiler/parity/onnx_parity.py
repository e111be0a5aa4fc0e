"""Parity: an ONNX model computes in ONNX Runtime what the torch module computes.

The tolerance is not guessed. The module also runs in float64, and how far torch's own float32
lies from that is the rounding noise of this network on these inputs. ONNX Runtime rounds in
another order, so its distance from float64 is of the same size (0.5 to 1.5 times, root mean
square, over ten networks from ResNet-18 to Swin); a wrong weight is far outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from compressc.array_types import Array
from compressc.errors import VerificationError
from compressc.parity.float64_reference import Float64Reference, evaluate
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import create_session, run_session

# How many times torch's own rounding error ONNX Runtime's may be.
_NOISE_FACTOR = 4.0
# ONNX Runtime computes these by rational functions, up to 3.1e-7 off (tanh) where torch is 3e-8
# off; sigmoids near zero are off by more than they are. Measured on 2 million points, release 1.31.
_APPROXIMATED = frozenset({"Sigmoid", "Tanh", "LSTM", "GRU", "RNN", "Gelu", "Mish", "Swish"})
_APPROXIMATE_ERROR = 3.1e-7
_APPROXIMATE_FACTOR = 16.0
# Where torch happens to be exact: so many units in the last place of the output's magnitude.
_ULPS = 8.0
# Rounding noise in such units where no float64 run is possible to measure it.
_ULPS_UNMEASURED = 128.0
# Rounding noise is known as well as it was sampled: of few numbers the largest may happen to be
# small. Two classes of a classifier on eight samples are sixteen numbers, and only eight of their
# own. Before so few condemn a file, more samples are drawn, this many at a time.
_FEW_NUMBERS, _MORE_SAMPLES, _MORE_BATCHES = 256, 16, 4
# An output whose tolerance exceeds this part of its variation hardly depends on the input.
_INFORMATIVE = 0.01


@dataclass(frozen=True)
class OutputParity:
    """The comparison of one output.

    Attributes:
        name: the ONNX output.
        max_error, rms_error: largest and root-mean-square difference from the float64 result.
        tolerance, rms_tolerance: bounds on them.
        variation: root-mean-square over elements of the standard deviation over samples.
        passed: whether shapes agree, non-finite values sit in the same places and both errors are
            within their bounds.
    """

    name: str
    max_error: float
    rms_error: float
    tolerance: float
    rms_tolerance: float
    variation: float
    passed: bool

    @property
    def severity(self) -> float:
        """The larger ratio of an error to its bound; above 1 means failed."""
        pairs = (self.max_error, self.tolerance), (self.rms_error, self.rms_tolerance)
        return max(error / bound if bound else (inf if error else 0.0) for error, bound in pairs)

    @property
    def informative(self) -> bool:
        """Whether the output varies enough over inputs for an error to show."""
        return self.rms_tolerance <= _INFORMATIVE * self.variation


@dataclass(frozen=True)
class Parity:
    """The verdict over all outputs and batch sizes.

    Attributes:
        batches: batch sizes tried; the example's own where the batch is fixed.
        max_error: largest absolute difference of the output that is nearest to failing.
        tolerance: bound on it.
        passed: whether every output passed.
        outputs: one entry per output.
    """

    batches: tuple[int, ...]
    max_error: float
    tolerance: float
    passed: bool
    outputs: tuple[OutputParity, ...]

    @property
    def informative(self) -> bool:
        """Whether every output varies enough over inputs for an error to show."""
        return all(output.informative for output in self.outputs)


def compare(
    module: Callable[..., Any],
    model: onnx.ModelProto | bytes | str | Path,
    example_inputs: Sequence[Any],
    *,
    batches: Sequence[int] = (1, 2, 3),
    dynamic_axes: Sequence[Mapping[int, str]] | None = None,
    seed: int = 0,
    use_engine: bool = True,
) -> Parity:
    """Run a module and an ONNX model on the same random inputs and judge the differences.

    Float inputs are normal noise with the mean, deviation and range of the example; other inputs
    are drawn from the example's own values, so that indices stay valid.

    Args:
        module: float32 module in eval mode; left as it was found. A plain callable works too,
            under a wider tolerance.
        model: the ONNX model, serialised or not, or its path.
        example_inputs: positional arguments, in the order of the ONNX inputs.
        batches: sizes of the axes that share the name of the first dynamic one; ignored where no
            axis is dynamic.
        dynamic_axes: per input, a mapping from axis to name.
        seed: for the inputs.
        use_engine: whether sparse nodes run on compressc's engine where it is installed; without
            it by their standard definition.

    Raises:
        VerificationError: if either side does not run.
    """
    leaves, structure = pytree.tree_flatten(tuple(example_inputs))
    examples = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    batch_axes = _batch_axes(dynamic_axes or [{} for _ in examples])
    # A fixed batch is tried with as many inputs as several sizes would give.
    dynamic = any(batch_axes)
    own = examples[0].shape[0] if examples and examples[0].dim() else 1
    sizes = tuple(batches) if dynamic else (own,) * len(batches)
    try:
        session = create_session(*_session_source(model), use_engine=use_engine)
        names = [value.name for value in session.get_inputs()]
        double = Float64Reference(module)
        generator = torch.Generator().manual_seed(seed)

        def run(size: int) -> _Run:
            inputs = [
                _draw(example, dict.fromkeys(positions, size), generator)
                for example, positions in zip(examples, batch_axes, strict=True)
            ]
            fresh = iter(inputs)
            filled = [next(fresh) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            arguments = pytree.tree_unflatten(filled, structure)
            feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
            single = evaluate(module, arguments)
            computed = run_session(session, feeds, "the exported model")
            return _Run(size, single, double(arguments), computed)

        runs = [run(size) for size in sizes]
        names_out = [value.name for value in session.get_outputs()]
        outputs = _judge(names_out, runs, approximate=_is_approximate(model))
        if _is_unsure(outputs, runs):
            runs += [run(_MORE_SAMPLES if dynamic else own) for _ in range(_MORE_BATCHES)]
            outputs = _judge(names_out, runs, approximate=_is_approximate(model))
    except (RuntimeFailure, RuntimeError, TypeError, ValueError, IndexError) as error:
        text = str(error).strip().splitlines()
        raise VerificationError(
            "torch and ONNX Runtime cannot be compared: "
            f"{text[0] if text else type(error).__name__}; nothing was written"
        ) from error
    worst = max(outputs, key=lambda output: (not output.passed, output.severity))
    return Parity(
        batches=sizes if dynamic else sizes[:1],
        max_error=worst.max_error,
        tolerance=worst.tolerance,
        passed=all(output.passed for output in outputs),
        outputs=tuple(outputs),
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """The outputs of one batch: torch, torch in float64 where that works, ONNX Runtime."""

    size: int
    single: list[Array]
    double: list[Array] | None
    onnx: list[Array]


def _is_unsure(outputs: Sequence[OutputParity], runs: Sequence[_Run]) -> bool:
    """Return whether an output failed of which too few numbers were seen to know its rounding."""
    return any(
        not output.passed
        and isfinite(output.max_error)
        and sum(run.single[place].size for run in runs) < _FEW_NUMBERS
        for place, output in enumerate(outputs)
    )


def _session_source(model: onnx.ModelProto | bytes | str | Path) -> tuple[str | bytes, str]:
    if isinstance(model, onnx.ModelProto):
        return model.SerializeToString(), "the exported model"
    if isinstance(model, bytes):
        return model, "the exported model"
    return str(model), str(model)


def _batch_axes(dynamic_axes: Sequence[Mapping[int, str]]) -> list[list[int]]:
    """Return, per input, the axes that carry the name of the first dynamic axis."""
    names = [name for axes in dynamic_axes for name in axes.values()]
    return [[axis for axis, name in axes.items() if name == names[0]] for axes in dynamic_axes]


def _draw(example: Tensor, sizes: Mapping[int, int], generator: torch.Generator) -> Tensor:
    shape = [sizes.get(axis, size) for axis, size in enumerate(example.shape)]
    if not example.numel():
        return torch.zeros(shape, dtype=example.dtype)
    if not example.is_floating_point():
        index = torch.randint(example.numel(), shape, generator=generator)
        return example.reshape(-1)[index]
    noise = torch.randn(shape, generator=generator)
    spread = float(example.float().std()) if example.numel() > 1 else 0.0
    if not spread > 0:
        return noise.to(example.dtype)
    drawn = noise * spread + float(example.float().mean())
    return drawn.clamp(float(example.min()), float(example.max())).to(example.dtype)


def _is_approximate(model: onnx.ModelProto | bytes | str | Path) -> bool:
    """Return whether the model holds an operator that ONNX Runtime only approximates."""
    if isinstance(model, bytes):
        model = onnx.load_model_from_string(model)
    elif not isinstance(model, onnx.ModelProto):
        model = onnx.load(model, load_external_data=False)
    return any(node.op_type in _APPROXIMATED for node in model.graph.node)


def _judge(names: Sequence[str], runs: Sequence[_Run], *, approximate: bool) -> list[OutputParity]:
    counts = {len(run.single) for run in runs} | {len(run.onnx) for run in runs}
    if len(counts) != 1:
        raise VerificationError(
            f"the module returns {len(runs[0].single)} tensors but the ONNX model "
            f"{len(runs[0].onnx)}; nothing was written"
        )
    return [_judge_output(name, index, runs, approximate) for index, name in enumerate(names)]


def _judge_output(name: str, index: int, runs: Sequence[_Run], approximate: bool) -> OutputParity:
    single = [run.single[index] for run in runs]
    double = [run.single[index] if run.double is None else run.double[index] for run in runs]
    results = [run.onnx[index] for run in runs]
    same_form = all(
        s.shape == d.shape == f.shape and s.dtype == f.dtype
        for s, d, f in zip(single, double, results, strict=True)
    )
    if not same_form:
        return OutputParity(name, inf, inf, 0.0, 0.0, 0.0, passed=False)
    variation = _variation(double, [run.size for run in runs])
    flat_single, flat_double, flat_found = (
        np.concatenate([array.reshape(-1) for array in arrays])
        for arrays in (single, double, results)
    )
    if not np.issubdtype(flat_single.dtype, np.floating):
        # Integers and booleans count as wrong or right.
        flat_single, flat_found = flat_single != flat_double, flat_found != flat_double
        flat_double = np.zeros_like(flat_single)
    unit = float(np.finfo(flat_single.dtype).eps) if flat_single.dtype.kind == "f" else 0.0
    finite = np.isfinite(flat_single)
    same_places = np.array_equal(flat_single[~finite], flat_found[~finite], equal_nan=True)
    exact = flat_double[finite].astype(np.float64)
    noise = flat_single[finite].astype(np.float64) - exact
    error = flat_found[finite].astype(np.float64) - exact
    ulps = _ULPS if all(run.double is not None for run in runs) else _ULPS_UNMEASURED
    max_error, rms_error = _largest(error), _rms(error)
    factor = _APPROXIMATE_FACTOR if approximate else _NOISE_FACTOR
    least = _APPROXIMATE_ERROR if approximate and unit else 0.0
    tolerance = factor * _largest(noise) + ulps * unit * _largest(exact) + least
    rms_tolerance = factor * _rms(noise) + ulps * unit * _rms(exact) + least
    within = max_error <= tolerance and rms_error <= rms_tolerance
    return OutputParity(
        name=name,
        max_error=max_error,
        rms_error=rms_error,
        tolerance=tolerance,
        rms_tolerance=rms_tolerance,
        variation=variation,
        passed=bool(same_places and within),
    )


def _variation(arrays: Sequence[Array], sizes: Sequence[int]) -> float:
    """Return how much an element changes from sample to sample, root mean square."""
    if arrays[0].dtype.kind not in "fiu":
        return 0.0
    batched = all(a.ndim and a.shape[0] == size for a, size in zip(arrays, sizes, strict=True))
    if batched:
        samples = np.concatenate(arrays)
    elif len({array.shape for array in arrays}) == 1:
        samples = np.stack(arrays)
    else:
        return 0.0
    finite = np.where(np.isfinite(samples), samples, 0).astype(np.float64)
    return _rms(finite.std(axis=0))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _largest(values: Array) -> float:
    return float(np.abs(values).max()) if values.size else 0.0
