"""Features of units from the gradients of the loss at their activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
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
from compressc.tasks.protocol import Batch, Task


@dataclass(frozen=True, eq=False)
class ActivationGradients:
    """What the loss says about each unit, by group name, shape (units,) each.

    Attributes:
        relative_size: sum of absolute gradients over samples and positions, divided by its mean
            over the group.
        taylor: mean of ``|activation * gradient|`` over samples and positions: what the loss
            changes by, to first order, when an activation becomes zero.
    """

    relative_size: dict[str, FloatArray]
    taylor: dict[str, FloatArray]


def measure_gradients(
    program: Program, task: Task, batches: Iterable[Batch]
) -> ActivationGradients:
    """Return what the loss says about each unit of every group that may shrink.

    Gradients are taken behind the ReLUs that carry the unit; see
    :func:`compressc.passes.unit_features.activation_places.find_places`. Without any batch all
    units are alike.

    Args:
        program: the original; a pending plan is ignored.
        task: its loss, of a whole batch at a time.
        batches: inputs and targets.

    Source:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
        ICLR 2017; gradients alone as ASCAI (arXiv 1911.06471) uses them.

    Deviations:
        Other activations count as ReLUs, and groups without any are judged at the outputs of their
        layers. The Taylor criterion takes the absolute value before the mean over positions; the
        paper takes it afterwards.
    """
    places = find_places(program)
    sizes, products = ClassTotals(couple(program)), ClassTotals(couple(program))
    watching = Watching(build_whole_module(program), set(places))
    for inputs, targets in batches if places else ():
        with torch.enable_grad():
            loss = task.loss(watching.run(*inputs), targets)
            watched = {n: value for n, value in watching.seen.items() if value.requires_grad}
            gradients = torch.autograd.grad(loss, list(watched.values()), allow_unused=True)
        for name, gradient in zip(watched, gradients, strict=True):
            if gradient is not None:
                sizes.add(gradient.abs(), places[name])
                products.add((watched[name].detach() * gradient).abs(), places[name])
    groups = free_groups(program)
    return ActivationGradients(
        {group.name: _relative(sizes.sums[group.classes]) for group in groups},
        {group.name: products.means[group.classes] for group in groups},
    )


def _relative(values: FloatArray) -> FloatArray:
    mean = values.mean()
    return values / mean if mean > 0 else np.ones(len(values))
