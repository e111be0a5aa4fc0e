"""Layers whose weights can be reconstructed, and how their inputs are cut into pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compressc.channels.axes import size_of
from compressc.coupling.graph import Coupling, couple
from compressc.factors.sites import CONVOLUTIONS
from compressc.operators import argument_of
from compressc.passes.reconstruction.norms import Norm, own_tensor, read_norm
from compressc.passes.reconstruction.patches import (
    LAYERS,
    Geometry,
    Grid,
    read_geometry,
)
from compressc.passes.reconstruction.succession import Successor, find_successors
from compressc.plan import Plan
from compressc.program import Program

aten = torch.ops.aten

_ADDITIONS = frozenset({aten.add.Tensor, aten.add_.Tensor})
# Elements of unfolded input in memory at a time: 128 MB in float64.
_CHUNK = 2**24
_ROWS_PER_FEATURE = 256


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose weights can be reconstructed, in names of the original graph.

    Attributes:
        node: the convolution or linear layer.
        source: the node whose value it reads.
        weight, bias: its parameters; bias may be None.
        norm: the batch norm that alone reads the output, or None.
        addition: the residual addition that alone reads (the batch norm of) the output, or None;
            where the layer takes over for blocks that are left out, the sum of the last of these.
        shortcut: what is added to it on the way there, or None.
        geometry: how the input is read.
        inputs, outputs: which channels stay.
        alive: where the weight may differ from zero, in its shape; None for everywhere.
        ranks: of the weight; none where they are free.
    """

    node: str
    source: str
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


def find_layers(program: Program, order: list[str]) -> dict[str, Layer]:
    """Return the layers whose weights can be reconstructed, by node name.

    Left out are weights that are shared or computed, transposed convolutions, and layers of blocks
    that the plan leaves out; the layers in front of such blocks aim at what the blocks made.

    Args:
        program: with a pending plan.
        order: node names in the order of execution; a residual addition is a target only where
            its other operand comes before the layer.
    """
    position = {name: index for index, name in enumerate(order)}
    layers = []
    for node in program.graph_module.graph.nodes:
        if node.target in LAYERS:
            layer = _read_layer(program, node, position)
            if layer is not None:
                layers.append(layer)
    if program.plan.choice:
        layers = _succeed(program, layers, position)
    return {layer.node: layer for layer in cut_layers(layers, couple(program), program.plan)}


def _succeed(program: Program, layers: list[Layer], position: dict[str, int]) -> list[Layer]:
    """Return the layers that decisions leave, each with what it aims at now."""
    branches, choice = couple(program).branches, program.plan.choice
    graph = program.graph_module.graph
    successors = {
        successor.layer: successor for successor in find_successors(graph, branches, choice)
    }
    gone = {block.sum for block in branches.dropped(choice)}
    living = branches.decide(choice).living
    left = []
    for layer in layers:
        if layer.node not in living:
            continue
        if layer.addition in gone:
            layer = replace(layer, addition=None, shortcut=None)
        successor = successors.get(layer.node)
        if successor is not None and _may_succeed(layer, successor, position):
            layer = replace(layer, addition=successor.target, shortcut=successor.shortcut)
        left.append(layer)
    return left


def _may_succeed(layer: Layer, successor: Successor, position: dict[str, int]) -> bool:
    """Return whether what a layer would aim at is known when it is fitted, and can be."""
    through_norm = layer.norm is not None or not successor.has_norm
    before = successor.shortcut
    return through_norm and (before is None or position[before] < position[layer.node])


def cut_layers(layers: Iterable[Layer], coupling: Coupling, plan: Plan) -> list[Layer]:
    """Return the layers as a plan leaves them, whatever plan they were cut by before."""
    kept, values = coupling.view(plan), coupling.propagation.values
    ranks = {coupling.factor_sites.site(name).node: ranks for name, ranks in plan.rank.items()}

    def mask(value: str, layer: Layer) -> NDArray[np.bool_]:
        axes = values[value]
        assert isinstance(axes, tuple)
        return kept.mask(axes[1 if layer.geometry.rank else -1])

    return [
        replace(
            layer,
            inputs=mask(layer.source, layer),
            outputs=mask(layer.node, layer),
            alive=plan.zero.get(layer.weight),
            ranks=ranks.get(layer.node, ()),
        )
        for layer in layers
    ]


def _read_layer(program: Program, node: fx.Node, position: dict[str, int]) -> Layer | None:
    """Return a layer as the original has it, nothing cut."""
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
        source.name,
        weight,
        bias,
        norm,
        addition,
        shortcut,
        read_geometry(node, tensor),
        np.ones(size_of(read[channel]), dtype=bool),
        np.ones(size_of(made[channel]), dtype=bool),
        None,
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
        spacing = (rows / (_ROWS_PER_FEATURE * features)) ** (1 / len(space))
        step = max(1, min(int(spacing), *space))
    piece = 0
    for index, batch in enumerate(batches):
        positions = prod(space) if space else batch[0].numel() // len(layer.inputs)
        elements = positions * len(layer.inputs) * prod(layer.geometry.kernel)
        size = max(1, _CHUNK * step ** len(space) // max(1, elements))
        for start in range(0, len(batch), size):
            yield index, slice(start, start + size), Grid(step, piece % step)
            piece += 1
