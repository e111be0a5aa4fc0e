"""Gates on weights: factors put into a captured network that multiply its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx

from compressc.errors import PlanError


class GatedWeights:
    """A network in whose graph factors multiply weights before layers read them.

    Factors are any real numbers: 1 leaves a weight as it is, 0 takes it away. Gradients flow to
    the factors and to the weights, so either may be what learns.

    Args:
        module: the network, whose graph is changed in place; its state dict stays as it is.
        names: parameters that get a factor, 1 to begin with.

    Raises:
        PlanError: if the graph reads no such parameter.
    """

    def __init__(self, module: fx.GraphModule, names: Iterable[str]) -> None:
        self.module = module
        self._attributes = {name: f"_weight_factor_{i}" for i, name in enumerate(names)}
        self._shapes: dict[str, torch.Size] = {}
        for name, attribute in self._attributes.items():
            self._insert(name, attribute)
        module.recompile()

    def set_factors(self, factors: Mapping[str, Tensor]) -> None:
        """Let the next forward passes run under these factors; others stay what they were.

        Shape:
            each: that of its parameter, or one that is broadcast to it, such as (out, 1, 1, 1) for
            one factor per filter.

        Raises:
            PlanError: if a parameter has no gate, or a shape does not fit.
        """
        for name, factor in factors.items():
            if name not in self._attributes:
                raise PlanError(f"{name} has no gate; gates are on {', '.join(self._attributes)}")
            shape = self._shapes[name]
            if not _is_broadcast_to(factor.shape, shape):
                raise PlanError(
                    f"{name}: factors of shape {tuple(factor.shape)} do not fit {tuple(shape)}"
                )
            self._place(self._attributes[name], factor)

    def _insert(self, name: str, attribute: str) -> None:
        graph = self.module.graph
        nodes = [node for node in graph.nodes if node.op == "get_attr" and node.target == name]
        parameters = dict(self.module.named_parameters())
        if not nodes or name not in parameters:
            raise PlanError(f"{name} is no parameter that the network reads")
        self._shapes[name] = parameters[name].shape
        self._place(attribute, torch.ones((), device=parameters[name].device))
        for node in nodes:
            with graph.inserting_after(node):
                factor = graph.create_node("get_attr", attribute)
            with graph.inserting_after(factor):
                product = graph.call_function(_multiply, (node, factor))
            node.replace_all_uses_with(product)
            product.update_arg(0, node)

    def _place(self, attribute: str, factor: Tensor) -> None:
        # A plain attribute even if the factor is a parameter of something else: weights are saved
        # and averaged without it.
        vars(self.module)[attribute] = factor


def _is_broadcast_to(shape: torch.Size, other: torch.Size) -> bool:
    if len(shape) > len(other):
        return False
    pairs = zip(reversed(shape), reversed(other), strict=False)
    return all(size in (1, whole) for size, whole in pairs)


def _multiply(weight: Tensor, factor: Tensor) -> Tensor:
    return weight * factor.to(weight.dtype)
