"""Fitting: new weights of one layer from what its input is and its output should be."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from compressc.passes.reconstruction.constrained_fit import Constraint, LowRank, Support
from compressc.passes.reconstruction.layers import Layer, cut_batches
from compressc.passes.reconstruction.least_squares import Moments, NormalEquations
from compressc.passes.reconstruction.patches import rows_of_output, unfold_input

# A batch norm that scales a channel by less than this share of its largest scale hides it.
_HIDDEN = 1e-4


def reconstruct(
    layer: Layer,
    state: dict[str, Tensor],
    inputs: list[Tensor],
    originals: list[Tensor],
    shortcuts: list[Tensor] | None,
    ridge: float,
) -> None:
    """Fit the weights of a layer, in place, so that its target keeps its original value.

    Weights under a mask of zeros become zero, and a layer with ranks gets a weight of these ranks.

    Args:
        layer: says what it reads and what form its weights have.
        state: tensors of the network under repair, by name; changed in place.
        inputs: what the layer reads there, per batch.
        originals: original values of ``layer.target``, per batch.
        shortcuts: values of the other operand of the residual addition in the network under
            repair, per batch; None where nothing is added.
        ridge: see :meth:`NormalEquations.solve`.
    """
    rows = _rows(layer, state)
    columns, outputs = _selection(layer, rows)
    geometry, kept = layer.geometry, rows[:, outputs][:, :, columns]
    equations = NormalEquations(len(rows), kept.shape[2], kept.shape[1], rows.device)
    scale, offset, seen = _branch_affine(layer, state)
    space = originals[0].shape[2:] if geometry.rank else ()
    for index, samples, grid in cut_batches(layer, inputs, space):
        goal = rows_of_output(originals[index][samples], geometry, grid).double()
        if shortcuts is not None:
            goal = goal - rows_of_output(shortcuts[index][samples], geometry, grid).double()
        if layer.addition is not None:
            goal = (goal - offset) / scale
        patches = unfold_input(inputs[index][samples], geometry, grid)
        equations.add(patches[:, :, columns], goal[:, :, outputs])
    _settle(layer, state, equations, ridge, seen)


def reconstruct_from_moments(
    layer: Layer, state: dict[str, Tensor], moments: Moments, ridge: float
) -> None:
    """Fit the weights of a layer, in place, so that it computes what it did from what is left.

    No data is passed: what is left is taken to be what it was in the original network.

    Args:
        layer: says what is left, and what form its weights have.
        state: tensors of the original network, by name; those of the layer are changed in place.
        moments: of what the layer reads in the original network.
        ridge: see :meth:`NormalEquations.solve`.
    """
    rows = _rows(layer, state)
    columns, outputs = _selection(layer, rows)
    taps = rows.shape[2] * len(rows) // len(layer.inputs)
    left = torch.as_tensor(layer.inputs).repeat_interleave(taps)
    bias = torch.zeros(rows.shape[:2]) if layer.bias is None else state[layer.bias].detach()
    equations = NormalEquations.of_teacher(
        moments,
        left.view(len(rows), -1),
        columns,
        rows[:, outputs],
        bias.view(len(rows), -1)[:, outputs],
    )
    _settle(layer, state, equations, ridge, torch.ones(len(layer.outputs), dtype=torch.bool))


def _rows(layer: Layer, state: dict[str, Tensor]) -> Tensor:
    """Return the weight as a matrix per conv group, (conv_groups, outputs, features), float64."""
    weight, conv_groups = state[layer.weight].detach().double(), layer.geometry.conv_groups
    return weight.reshape(conv_groups, len(weight) // conv_groups, -1)


def _settle(
    layer: Layer, state: dict[str, Tensor], equations: NormalEquations, ridge: float, seen: Tensor
) -> None:
    """Solve, and put the result into the state; outputs that are not seen keep what they have."""
    rows = _rows(layer, state)
    columns, outputs = _selection(layer, rows)
    constraint = _constraint(layer, columns, outputs, rows.device)
    fitted, constant = equations.solve(
        rows[:, outputs][:, :, columns],
        ridge,
        intercept=layer.has_intercept,
        project=None if constraint is None else constraint.project,
    )
    if constraint is not None:
        # A row that kept its old weights would break the form; hidden ones may be anything.
        seen = torch.ones_like(seen)
    with torch.no_grad():
        _write(layer, state, fitted, constant, columns, outputs, seen)


def _selection(layer: Layer, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns and rows of the weight matrix that take part.

    Conv groups may keep different channels, so grouped layers take part whole: features that are
    masked to zero keep their weights through the ridge.
    """
    if layer.geometry.conv_groups > 1:
        return torch.arange(rows.shape[2]), torch.arange(rows.shape[1])
    taps = rows.shape[2] // len(layer.inputs)
    columns = torch.as_tensor(np.flatnonzero(np.repeat(layer.inputs, taps)))
    return columns, torch.as_tensor(np.flatnonzero(layer.outputs))


def _constraint(
    layer: Layer, columns: Tensor, outputs: Tensor, device: torch.device
) -> Constraint | None:
    """Return what form the weights that take part must have."""
    if layer.ranks:
        return LowRank(layer.ranks, prod(layer.geometry.kernel))
    if layer.alive is None:
        return None
    alive = torch.tensor(layer.alive, device=device)
    rows = alive.reshape(layer.geometry.conv_groups, -1, alive[0].numel())
    return Support(rows[:, outputs][:, :, columns])


def _branch_affine(layer: Layer, state: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return scale and offset of the batch norm between layer and addition, and which are seen.

    Shape:
        scale and offset (conv_groups, 1, outputs), seen (outputs of all conv groups,).
    """
    conv_groups = layer.geometry.conv_groups
    count = len(layer.outputs)
    if layer.norm is None or layer.addition is None:
        device = state[layer.weight].device
        scale, offset = torch.ones(count, device=device), torch.zeros(count, device=device)
    else:
        scale, offset = layer.norm.scale(state), layer.norm.offset(state)
    seen = scale.abs() > _HIDDEN * scale.abs().max()
    scale = torch.where(seen, scale, 1.0)
    return scale.view(conv_groups, 1, -1), offset.view(conv_groups, 1, -1), seen


def _write(
    layer: Layer,
    state: dict[str, Tensor],
    fitted: Tensor,
    constant: Tensor,
    columns: Tensor,
    outputs: Tensor,
    seen: Tensor,
) -> None:
    """Put fitted weights into the state; outputs that a batch norm hides keep theirs.

    Shape:
        fitted (conv_groups, outputs, columns), constant (conv_groups, outputs); columns and outputs
        are the indices that took part; seen bool (outputs of all conv groups,).
    """
    conv_groups, weight = layer.geometry.conv_groups, state[layer.weight]
    matrix = weight.double().reshape(conv_groups, len(weight) // conv_groups, -1)
    seen = seen.view(conv_groups, -1)[:, outputs]
    old = matrix[:, outputs][:, :, columns]
    new = torch.where(seen[:, :, None], fitted, old)
    matrix[:, outputs[:, None], columns[None, :]] = new
    weight.copy_(matrix.reshape(weight.shape))
    if layer.bias is not None:
        bias = state[layer.bias].view(conv_groups, -1)
        bias[:, outputs] = torch.where(seen, constant, bias[:, outputs].double()).to(bias.dtype)
    elif layer.norm is not None:
        # A constant before a batch norm is a shift of its mean.
        mean = state[layer.norm.mean].view(conv_groups, -1)
        shifted = mean[:, outputs].double() - constant
        mean[:, outputs] = torch.where(seen, shifted, mean[:, outputs].double()).to(mean.dtype)
