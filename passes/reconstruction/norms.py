"""Batch norms that a layer's weights can be fitted through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressc.coupling.graph import couple
from compressc.operators import argument_of
from compressc.program import Program

aten = torch.ops.aten


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
