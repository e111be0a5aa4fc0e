"""Switched layers: whose weights switchers read, and how factors fit a weight's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, fx

from compressc.coupling.graph import couple
from compressc.errors import PlanError
from compressc.layer_names import owner_of
from compressc.passes.snn.settings import Layers, Mode
from compressc.program import Program

aten = torch.ops.aten
_LINEAR = (aten.linear.default,)
_CONVOLUTIONS = (
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
)
_TARGETS = {"fc": _LINEAR, "conv": _CONVOLUTIONS, "all": (*_LINEAR, *_CONVOLUTIONS)}
_WORDS = {
    "fc": "fully connected layer",
    "conv": "convolution",
    "all": "fully connected layer or convolution",
}


@dataclass(frozen=True)
class SwitchedLayer:
    """A layer whose weight (outputs, inputs, ...) is read as a matrix, one row for each input.

    Attributes:
        name: of the layer.
        weight: name of the parameter.
        shape: of the parameter.
        mode: whether factors are per weight or per input.
    """

    name: str
    weight: str
    shape: tuple[int, ...]
    mode: Mode

    @property
    def rows(self) -> int:
        """Inputs of the layer, m."""
        return self.shape[1]

    @property
    def columns(self) -> int:
        """Weights of one input, n: its outputs, times the kernel's places for a convolution."""
        return self.shape[0] * torch.Size(self.shape[2:]).numel()

    def read(self, weight: Tensor) -> Tensor:
        """Return the weight as a matrix.

        Shape:
            weight: ``shape``; result: (rows, columns).
        """
        return weight.transpose(0, 1).flatten(1)

    def fit(self, factors: Tensor) -> Tensor:
        """Return factors in a shape that is broadcast to the weight's.

        Shape:
            factors: (rows, columns), or (rows, 1) in the neuron mode; result: ``shape``, or
            (1, rows, 1, ...).
        """
        if self.mode == "neuron":
            return factors.view(1, -1, *(1 for _ in self.shape[2:]))
        outputs, inputs, *kernel = self.shape
        return factors.reshape(inputs, outputs, *kernel).transpose(0, 1)


def find_switched_layers(
    program: Program, layers: Layers, mode: Mode
) -> tuple[tuple[SwitchedLayer, ...], tuple[str, ...]]:
    """Return the layers that can be switched, in graph order, and remarks on the others.

    A weight that several places read is one layer: each of them then reads it switched.

    Raises:
        PlanError: if there is none.
    """
    canonical = couple(program).propagation.canonical
    tensors = couple(program).propagation.tensors
    chosen: dict[str, SwitchedLayer] = {}
    notes: dict[str, str] = {}
    for node in program.graph_module.graph.nodes:
        if node.target not in _TARGETS[layers]:
            continue
        source = node.args[1]
        assert isinstance(source, fx.Node)
        weight = canonical.get(str(source.target), "") if source.op == "get_attr" else ""
        reason = _refusal(program, node, weight)
        if reason:
            notes.setdefault(weight or node.name, f"{owner_of(weight) or node.name}: {reason}")
        else:
            shape = tuple(tensors[weight].shape)
            chosen.setdefault(weight, SwitchedLayer(owner_of(weight), weight, shape, mode))
    if not chosen:
        why = "; ".join(notes.values()) or f"the model has no {_WORDS[layers]}"
        other = {"fc": "conv", "conv": "fc"}.get(layers)
        cure = f"; --layers {other} switches the others" if other and not notes else ""
        raise PlanError(f"snn finds no {_WORDS[layers]} to switch: {why}{cure}")
    return tuple(chosen.values()), tuple(notes.values())


def _refusal(program: Program, node: fx.Node, weight: str) -> str:
    """Return why a layer is not switched, or ""."""
    if not weight or not couple(program).propagation.is_parameter(weight):
        return "not switched: its weight is computed"
    patterns = [p for p in program.constraints.keep if fnmatchcase(owner_of(weight), p)]
    if patterns:
        return f"not switched: kept by --keep {patterns[0]}"
    if node.target in _CONVOLUTIONS and _conv_groups(node) > 1:
        return "not switched: a convolution with conv groups has no matrix of inputs and outputs"
    allowed = _TARGETS["all"]
    others = [user for user in _readers(program, weight) if user.target not in allowed]
    if others:
        return f"not switched: {others[0].name} reads its weight as well"
    return ""


def _readers(program: Program, weight: str) -> list[fx.Node]:
    canonical = couple(program).propagation.canonical
    return [
        user
        for node in program.graph_module.graph.nodes
        if node.op == "get_attr" and canonical.get(str(node.target)) == weight
        for user in node.users
    ]


def _conv_groups(node: fx.Node) -> int:
    groups = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
    assert isinstance(groups, int)
    return groups


def matrices(layers: Sequence[SwitchedLayer], state: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the matrix of each layer, (rows, columns) each, detached."""
    return [layer.read(state[layer.weight].detach()) for layer in layers]
