"""The registry of unit features: every feature by its name, measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from compressc.array_types import FloatArray
from compressc.clock import ProgressCallback, ignore_progress
from compressc.errors import FeatureError
from compressc.passes.unit_features.activation_gradients import (
    ActivationGradients,
    measure_gradients,
)
from compressc.passes.unit_features.activation_sizes import ActivationSizes, measure_activations
from compressc.passes.unit_features.reconstruction_errors import RIDGE, measure_unit_errors
from compressc.passes.unit_features.samples import UnitSamples
from compressc.passes.unit_features.weight_norms import (
    measure_mean_squares,
    measure_relative_norms,
)
from compressc.program import Program

Measured = TypeVar("Measured")
UnitValues = dict[str, FloatArray]
FeatureName = Literal[
    "l1", "l2", "mean-square", "activation", "apoz", "gradient", "taylor", "reconstruction"
]


@dataclass(frozen=True)
class UnitFeature:
    """One feature.

    Attributes:
        meaning: what the number of a unit says.
        needs_samples: whether it is measured on samples.
        measure: called with the program, the samples, a progress callback and the ridge.
    """

    meaning: str
    needs_samples: bool
    measure: Callable[..., UnitValues]


def measure_feature(
    program: Program,
    name: FeatureName,
    samples: UnitSamples | None = None,
    progress: ProgressCallback = ignore_progress,
    ridge: float = RIDGE,
) -> UnitValues:
    """Return a feature of each unit of every group that is not pinned, by group name.

    It is measured once per program and samples, whatever plan is pending.

    Args:
        program: the original; a pending plan is ignored.
        name: of the feature.
        samples: needed by features that are not read off the weights.
        progress: called with (done, total, text) while samples are run.
        ridge: of "reconstruction" only: damping of the least squares, as a share of the mean square
            of what a layer reads.

    Shape:
        each result: (units,), float64.

    Raises:
        FeatureError: if there is no such feature, or it needs samples and there are none.
        DataError: if the task gives no samples.
    """
    if name not in FEATURES:
        raise FeatureError(f"no unit feature is called '{name}'; known: {', '.join(FEATURES)}")
    feature = FEATURES[name]
    if not feature.needs_samples:
        return dict(program.once(("unit feature", name), lambda: feature.measure(program)))
    if samples is None:
        raise FeatureError(f"the unit feature '{name}' is measured on samples; give some")
    return dict(feature.measure(program, samples, progress, ridge))


def _measure_activation_sizes(program: Program, samples: UnitSamples) -> ActivationSizes:
    return _once_per_samples(
        program,
        samples,
        "activation sizes",
        lambda: measure_activations(program, samples.unlabelled()),
    )


def _measure_activation_gradients(program: Program, samples: UnitSamples) -> ActivationGradients:
    return _once_per_samples(
        program,
        samples,
        "activation gradients",
        lambda: measure_gradients(program, samples.task, samples.labelled()),
    )


def _measure_reconstruction(
    program: Program, samples: UnitSamples, progress: ProgressCallback, ridge: float
) -> UnitValues:
    return _once_per_samples(
        program,
        samples,
        f"reconstruction errors {ridge}",
        lambda: measure_unit_errors(program, samples.unlabelled(), ridge, progress),
    )


def _once_per_samples(
    program: Program, samples: UnitSamples, what: str, measure: Callable[[], Measured]
) -> Measured:
    # The samples are kept beside the result, so that no other task takes their place in memory.
    _, measured = program.once(("unit features", what, samples.key), lambda: (samples, measure()))
    return measured


FEATURES: Mapping[FeatureName, UnitFeature] = {
    "l1": UnitFeature(
        "L1 norm of the unit's weights, relative to its group",
        False,
        lambda program: measure_relative_norms(program, "l1"),
    ),
    "l2": UnitFeature(
        "L2 norm of the unit's weights, relative to its group",
        False,
        lambda program: measure_relative_norms(program, "l2"),
    ),
    "mean-square": UnitFeature("mean squared weight of the unit", False, measure_mean_squares),
    "activation": UnitFeature(
        "mean absolute activation",
        True,
        lambda program, samples, *_: _measure_activation_sizes(program, samples).mean_size,
    ),
    "apoz": UnitFeature(
        "share of activations that are zero",
        True,
        lambda program, samples, *_: _measure_activation_sizes(program, samples).zero_share,
    ),
    "gradient": UnitFeature(
        "summed absolute gradients at the activations, relative to the group",
        True,
        lambda program, samples, *_: _measure_activation_gradients(program, samples).relative_size,
    ),
    "taylor": UnitFeature(
        "mean of |activation * gradient|",
        True,
        lambda program, samples, *_: _measure_activation_gradients(program, samples).taylor,
    ),
    "reconstruction": UnitFeature(
        "error that the layers reading the unit cannot make up for by least squares",
        True,
        _measure_reconstruction,
    ),
}
