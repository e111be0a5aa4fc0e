"""Reconstruction: new weights of one layer from what its input is and its output should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compressc.channels.kept import Kept
from compressc.coupling.graph import couple
from compressc.factors.sites import CONVOLUTIONS
from compressc.operators import argument_of
from compressc.passes.reconstruction.constrained_fit import Constraint, LowRank, Support
from compressc.passes.reconstruction.least_squares import NormalEquations
from compressc.passes.reconstruction.patches import (
    LAYERS,
    Geometry,
    Grid,
    read_geometry,
    rows_of_output,
    unfold_input,
)
from compressc.program import Program

aten = torch.ops.aten

_ADDITIONS = frozenset({aten.add.Tensor, aten.add_.Tensor})
# Elements of unfolded input in memory at a time: 128 MB in float64.
_CHUNK = 2**24
_ROWS_PER_FEATURE = 256
# A batch norm that scales a channel by less than this share of its largest scale hides it.
_HIDDEN = 1e-4


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose weights can be reconstructed, in names of the original graph.

    Attributes:
        node: the convolution or linear layer.
        weight, bias: its parameters; bias may be None.
        norm: the batch norm that alone reads the output, or None.
        addition: the residual addition that alone reads (the batch norm of) the output, or None.
        shortcut: the other operand of the addition.
        geometry: how the input is read.
        inputs, outputs: which channels stay.
        alive: where the weight may differ from zero, in its shape; None for everywhere.
        ranks: of the weight; none where they are free.
    """

    node: str
    weight: str
    bias: str | None
    norm: Norm | None
    addition: str | None
    shortcut: str | None
    geometry: Geometry
    inputs: NDArray[np.bool_]
    outputs: NDArray[np.bool_]
    alive: NDArray[np.bool_] | None
    ranks: tuple[int, ...]

    @property
    def target(self) -> str:
        """The node whose original value the layer should reproduce."""
        return self.addition or self.node

    @property
    def has_intercept(self) -> bool:
        """Whether a constant can be added to each output channel."""
        return self.bias is not None or self.norm is not None


@dataclass(frozen=True)
class Norm:
    """A batch norm in evaluation mode: its node, its tensors (None where absent) and epsilon."""

    node: str
    weight: str | None
    bias: str | None
    mean: str
    variance: str
    epsilon: float

    def scale(self, state: dict[str, Tensor]) -> Tensor:
        """Return what each channel is multiplied with, float64."""
        scale = (state[self.variance].double() + self.epsilon).rsqrt()
        return scale if self.weight is None else scale * state[self.weight].double()

    def offset(self, state: dict[str, Tensor]) -> Tensor:
        """Return what is added to each channel, float64."""
        offset = -state[self.mean].double() * self.scale(state)
        return offset if self.bias is None else offset + state[self.bias].double()


def find_layers(program: Program, order: list[str]) -> dict[str, Layer]:
    """Return the layers whose weights can be reconstructed, by node name.

    Left out are weights that are shared or computed, and transposed convolutions.

    Args:
        program: with a pending plan.
        order: node names in the order of execution; a residual addition is a target only where
            its other operand comes before the layer.
    """
    coupling = couple(program)
    kept = coupling.view(program.plan)
    ranks = {
        coupling.factor_sites.site(name).node: ranks for name, ranks in program.plan.rank.items()
    }
    position = {name: index for index, name in enumerate(order)}
    layers = {}
    for node in program.graph_module.graph.nodes:
        if node.target in LAYERS:
            layer = _read_layer(program, node, kept, position)
            if layer is not None:
                layers[node.name] = replace(layer, ranks=ranks.get(node.name, ()))
    return layers


def own_tensor(program: Program, node: object) -> str | None:
    """Return the name of a parameter or buffer that nothing but this argument reads."""
    if not isinstance(node, fx.Node) or node.op != "get_attr" or len(node.users) > 1:
        return None
    name = str(node.target)
    canonical = couple(program).propagation.canonical
    tied = sum(first == canonical.get(name) for first in canonical.values()) != 1
    same = sum(n.op == "get_attr" and n.target == name for n in node.graph.nodes) != 1
    return None if tied or same else name


def read_norm(program: Program, node: fx.Node) -> Norm | None:
    """Return a batch norm in evaluation mode whose statistics are its own, or None."""
    if node.target is not aten.batch_norm.default or argument_of(node, "training"):
        return None
    mean, variance = (
        own_tensor(program, argument_of(node, f"running_{n}")) for n in ("mean", "var")
    )
    if mean is None or variance is None:
        return None
    weight, bias = argument_of(node, "weight"), argument_of(node, "bias")
    if any(isinstance(x, fx.Node) and x.op != "get_attr" for x in (weight, bias)):
        return None
    return Norm(
        node.name,
        None if weight is None else str(weight.target),
        None if bias is None else str(bias.target),
        mean,
        variance,
        float(argument_of(node, "eps")),
    )


def _read_layer(
    program: Program, node: fx.Node, kept: Kept, position: dict[str, int]
) -> Layer | None:
    values = couple(program).propagation.values
    source, given_bias = argument_of(node, "input"), argument_of(node, "bias")
    weight = own_tensor(program, argument_of(node, "weight"))
    bias = own_tensor(program, given_bias)
    if weight is None or (given_bias is not None and bias is None):
        return None
    tensor = couple(program).propagation.tensors[weight]
    read, made = values.get(source.name), values.get(node.name)
    if not isinstance(read, tuple) or not isinstance(made, tuple):
        return None
    channel = -1
    if node.target in CONVOLUTIONS:
        channel = 1
        if len(read) != tensor.dim():  # an unbatched input
            return None
    norm, end = None, node
    user = _only_user(node)
    if user is not None and user.target is aten.batch_norm.default and channel == 1:
        norm = read_norm(program, user)
        end = user if norm is not None else node
    addition, shortcut = _residual(end, node, position)
    return Layer(
        node.name,
        weight,
        bias,
        norm,
        addition,
        shortcut,
        read_geometry(node, tensor),
        kept.mask(read[channel]),
        kept.mask(made[channel]),
        program.plan.zero.get(weight),
        (),
    )


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _residual(
    end: fx.Node, layer: fx.Node, position: dict[str, int]
) -> tuple[str, str] | tuple[None, None]:
    """Return the addition behind a branch and its other operand, if that one comes first."""
    user = _only_user(end)
    if user is None or user.target not in _ADDITIONS or len(user.args) != 2 or user.kwargs:
        return None, None
    others = [operand for operand in user.args if operand is not end]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return None, None
    other = others[0]
    if position[other.name] > position[layer.name] or other.op == "get_attr":
        return None, None
    if other.meta["val"].shape != end.meta["val"].shape:
        return None, None
    return user.name, other.name


def reconstruct(
    layer: Layer,
    state: dict[str, Tensor],
    inputs: list[Tensor],
    wanted: list[Tensor],
    shortcuts: list[Tensor] | None,
    ridge: float,
) -> None:
    """Fit the weights of a layer, in place, so that its target keeps its original value.

    Weights under a mask of zeros become zero, and a layer with ranks gets a weight of these ranks.

    Args:
        layer: which one.
        state: tensors of the network under repair, by name; changed in place.
        inputs: what the layer reads there, per batch.
        wanted: original values of ``layer.target``, per batch.
        shortcuts: values of the other operand of the residual addition in the network under
            repair, per batch; None where the target is the layer itself.
        ridge: see :meth:`NormalEquations.solve`.
    """
    geometry, weight = layer.geometry, state[layer.weight]
    conv_groups = geometry.conv_groups
    rows = weight.detach().double().reshape(conv_groups, len(weight) // conv_groups, -1)
    columns, outputs = _selection(layer, rows)
    rows = rows[:, outputs][:, :, columns]
    equations = NormalEquations(conv_groups, rows.shape[2], rows.shape[1], weight.device)
    scale, offset, seen = _branch_affine(layer, state)
    space = wanted[0].shape[2:] if geometry.rank else ()
    for index, samples, grid in cut_batches(layer, inputs, space):
        goal = rows_of_output(wanted[index][samples], geometry, grid).double()
        if shortcuts is not None:
            now = rows_of_output(shortcuts[index][samples], geometry, grid).double()
            goal = (goal - now - offset) / scale
        patches = unfold_input(inputs[index][samples], geometry, grid)
        equations.add(patches[:, :, columns], goal[:, :, outputs])
    constraint = _constraint(layer, columns, outputs, weight.device)
    fitted, constant = equations.solve(
        rows,
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


def cut_batches(
    layer: Layer, batches: Sequence[Tensor], space: Sequence[int]
) -> Iterator[tuple[int, slice, Grid]]:
    """Yield which samples and output positions to take at a time, so that unfolding fits memory.

    Where there are far more output positions than features, they are thinned out: neighbours tell
    much the same. Every piece takes other positions.

    Args:
        layer: what reads the batches.
        batches: its inputs.
        space: spatial sizes of its output.

    Returns:
        Triples of the batch's index, its samples, and the output positions.
    """
    features = len(layer.inputs) // layer.geometry.conv_groups * prod(layer.geometry.kernel)
    step = 1
    if space:
        rows = prod(space) * sum(len(batch) for batch in batches)
        wanted = (rows / (_ROWS_PER_FEATURE * features)) ** (1 / len(space))
        step = max(1, min(int(wanted), *space))
    piece = 0
    for index, batch in enumerate(batches):
        positions = prod(space) if space else batch[0].numel() // len(layer.inputs)
        elements = positions * len(layer.inputs) * prod(layer.geometry.kernel)
        size = max(1, _CHUNK * step ** len(space) // max(1, elements))
        for start in range(0, len(batch), size):
            yield index, slice(start, start + size), Grid(step, piece % step)
            piece += 1


def _write(
    layer: Layer,
    state: dict[str, Tensor],
    fitted: Tensor,
    constant: Tensor,
    columns: Tensor,
    outputs: Tensor,
    seen: Tensor,
) -> None:
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
