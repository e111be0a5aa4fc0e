"""The state matrix: what the network is told about each unit, one column per unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import BoolArray, FloatArray
from compressc.errors import FeatureError
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.unit_features.registry import FeatureName

# s1 to s4 of the paper, as the registry of features calls them.
MEASURED: tuple[FeatureName, ...] = ("activation", "apoz", "taylor", "mean-square")
# Names of the rows; a network knows by them whether it can be carried here.
ROWS = (*MEASURED, "units originally", "units now", "layer")
# Counts enter as logarithms, beside that of a group of this many units.
_WIDE = 1024.0
# Features are shares of their mean over the group, cut off where they say no more than "large".
_LARGEST = 10.0

Measure = Callable[[FeatureName], Mapping[str, FloatArray]]


@dataclass(frozen=True, eq=False)
class FeatureSheet:
    """Features of all units at one time.

    Attributes:
        units: whose.
        measured: normalised features, shape (measured, units), float32.
        raw: the features as they were measured, by name, shape (units,) each.
    """

    units: PrunableUnits
    measured: FloatArray
    raw: Mapping[str, FloatArray]

    def matrix(self, kept: BoolArray) -> Tensor:
        """Return the state in which some units are left; columns of units that left are 0.

        Shape:
            kept (units,); result (7, units), float32.
        """
        units = self.units
        sizes = np.array([group.size for group in units.groups])
        now = np.bincount(units.owner[kept], minlength=len(sizes))
        counts = np.log2(np.stack([sizes, np.maximum(now, 1)])) / np.log2(_WIDE)
        place = np.arange(len(sizes)) / max(1, len(sizes) - 1)
        rows = np.concatenate([self.measured, np.vstack([counts, place])[:, units.owner]])
        return torch.from_numpy((rows * kept).astype(np.float32))


def fill_sheet(units: PrunableUnits, measure: Measure) -> FeatureSheet:
    """Return the features of all units.

    Mean activations, Taylor terms and mean squares are divided by their mean over the group, so
    that a network can be carried to other layers and other models; shares of zeros stay as they
    are.

    Args:
        units: whose.
        measure: returns a feature by group name, per unit.

    Raises:
        FeatureError: if a feature is not a number, naming it and where.
    """
    raw: dict[str, FloatArray] = {
        name: units.flatten(_checked(name, measure(name), units)) for name in MEASURED
    }
    rows = []
    for name, values in raw.items():
        if name == "apoz":
            rows.append(values)
            continue
        rows.append(np.minimum(values / _group_means(units, values), _LARGEST))
    return FeatureSheet(units, np.stack(rows), raw)


def _checked(
    name: str, values: Mapping[str, FloatArray], units: PrunableUnits
) -> Mapping[str, FloatArray]:
    for group in units.groups:
        if not np.isfinite(values[group.name]).all():
            place = int(np.flatnonzero(~np.isfinite(values[group.name]))[0])
            raise FeatureError(
                f"the unit feature '{name}' of '{group.name}' is no number (unit {place}): the "
                "weights or the samples hold what is none; check both"
            )
    return values


def _group_means(units: PrunableUnits, values: FloatArray) -> FloatArray:
    """Return the mean over the group of each unit, 1 where it is 0, shape (units,)."""
    sizes = np.bincount(units.owner)
    means = np.bincount(units.owner, weights=values) / sizes
    spread: FloatArray = np.where(means > 0, means, 1.0)[units.owner]
    return spread
