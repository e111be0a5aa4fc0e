"""Input moments: mean and covariance of what a layer reads, all that its least squares need."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from compressc.passes.reconstruction.layers import Layer, cut_batches
from compressc.passes.reconstruction.least_squares import Moments, NormalEquations
from compressc.passes.reconstruction.patches import unfold_input


def measure_moments(
    layer: Layer, weight: Tensor, inputs: Sequence[Tensor], shape: Sequence[int]
) -> Moments:
    """Return the moments of the features that the rows of a layer's weight are multiplied with.

    Args:
        layer: says how the input is read.
        weight: of the layer.
        inputs: what it reads, per batch.
        shape: of its output.
    """
    geometry = layer.geometry
    equations = NormalEquations(geometry.conv_groups, weight[0].numel(), 0, weight.device)
    space = tuple(shape[2:]) if geometry.rank else ()
    for index, samples, grid in cut_batches(layer, inputs, space):
        patches = unfold_input(inputs[index][samples], geometry, grid)
        equations.add(patches, patches[:, :, :0])
    return equations.moments()
