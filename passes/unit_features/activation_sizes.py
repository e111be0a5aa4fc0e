"""Features of units from activations alone: how large they are, and how often they are zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from compressc.array_types import FloatArray
from compressc.coupling.graph import couple
from compressc.passes.unit_features.activation_places import (
    ClassTotals,
    Watching,
    build_whole_module,
    find_places,
)
from compressc.passes.unit_features.weight_norms import free_groups
from compressc.program import Program
from compressc.tasks.protocol import Inputs


@dataclass(frozen=True, eq=False)
class ActivationSizes:
    """What the activations of each unit are like, by group name, shape (units,) each.

    Attributes:
        mean_size: mean absolute value over samples and positions.
        zero_share: share of values that are exactly zero, 0 to 1.
    """

    mean_size: dict[str, FloatArray]
    zero_share: dict[str, FloatArray]


def measure_activations(program: Program, batches: Iterable[Inputs]) -> ActivationSizes:
    """Return what the activations of each unit of every group that may shrink are like.

    They are looked at behind the ReLUs that carry the unit; see
    :func:`compressc.passes.unit_features.activation_places.find_places`. A unit that is seen
    nowhere has zeros only.

    Args:
        program: the original; a pending plan is ignored.
        batches: unlabelled samples.

    Source:
        Hu et al., Network Trimming, arXiv 1607.03250, 2016: APoZ, the average percentage of zeros
        behind a ReLU; here as a share.

    Deviations:
        Where several ReLUs carry a unit, as on a residual stream, the values behind all of them
        count. Smooth activations such as GELU are hardly ever exactly zero.
    """
    places = find_places(program)
    sizes, zeros = ClassTotals(couple(program)), ClassTotals(couple(program))
    watching = Watching(build_whole_module(program), set(places))
    with torch.no_grad():
        for inputs in batches:
            watching.run(*inputs)
            for name, value in watching.seen.items():
                sizes.add(value.abs(), places[name])
                zeros.add(value == 0, places[name])
    groups = free_groups(program)
    return ActivationSizes(
        {group.name: sizes.means[group.classes] for group in groups},
        {group.name: zeros.means[group.classes] for group in groups},
    )
