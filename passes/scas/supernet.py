"""The supernet in training: any child of it runs on the shared weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressc.choices.branches import read_branches
from compressc.choices.operation import CHOOSE
from compressc.graphs.trainable import keep_batch_statistics_only
from compressc.passes.gradual.magnitude_masks import MagnitudeMasks
from compressc.passes.gradual.prunable_weights import list_prunable_weights
from compressc.passes.scas.settings import ScasSettings
from compressc.passes.training.placement import place_inputs, place_program
from compressc.program import Program

# Per decision the index of a candidate, or one weight for each of them, shape (candidates,).
Architecture = Mapping[str, int | Tensor]


class Supernet:
    """A program with open choices, in training.

    Batch norms use the statistics of the batch: running ones would mix those of different children.

    Args:
        program: the supernet; stays as it is.
        device: where it runs.
        settings: memory layout, and how many weights of a layer stay at least.
        generated: weights that somebody else gives at every run; they are not pruned here.

    Attributes:
        module: with the shared weights.
        masks: on the shared weights.
        prunable: the weights that zeros may go into, generated ones included.
        choices: the decisions.
    """

    def __init__(
        self,
        program: Program,
        device: torch.device,
        settings: ScasSettings,
        generated: frozenset[str],
    ) -> None:
        self._channels_last = settings.channels_last
        module = place_program(program, device, settings.channels_last)
        assert isinstance(module, fx.GraphModule)
        keep_batch_statistics_only(module)
        self.prunable = list_prunable_weights(program)[0]
        names = [name for name in self.prunable if name not in generated]
        self.masks = MagnitudeMasks(module, names, settings.floor)
        self.module = module.train()
        self._device = device
        self._nodes = list(module.graph.nodes)
        self._branches = read_branches(module.graph)
        self.choices = self._branches.choices

    def run(
        self,
        inputs: tuple[Tensor, ...],
        architecture: Architecture,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Return what a child, or a mixture of children, gives; only what it needs is computed.

        Args:
            inputs: positional.
            architecture: choices that it leaves out are the mean of their candidates.
            weights: that take the place of the shared ones.
        """
        fixed = {name: index for name, index in architecture.items() if isinstance(index, int)}
        decided = self._branches.decide(fixed)
        given = iter(place_inputs(inputs, self._device, self._channels_last))
        others = weights or {}
        values: dict[str, Any] = {}

        def value_of(node: fx.Node) -> Any:
            return values[decided.stands.get(node.name, node.name)]

        for node in self._nodes:
            if node.name not in decided.living:
                continue
            if node.op == "placeholder":
                values[node.name] = next(given)
            elif node.op == "get_attr":
                target = str(node.target)
                values[node.name] = others[target] if target in others else self._read(target)
            elif node.name in decided.copies:
                values[node.name] = values[decided.copies[node.name]].clone()
            elif node.op == "output":
                outputs: Any = fx.map_arg(node.args[0], value_of)
                return outputs[0]
            elif node.target is CHOOSE:
                candidates: Any = fx.map_arg(node.args[0], value_of)
                values[node.name] = _mix(candidates, architecture.get(str(node.args[1])))
            else:
                operation: Any = node.target
                arguments: Any = fx.map_arg((node.args, node.kwargs), value_of)
                values[node.name] = operation(*arguments[0], **arguments[1])
        raise AssertionError("a graph ends with its output")

    def _read(self, path: str) -> Any:
        value: Any = self.module
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def child(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a child as a module that a task can validate, whatever mode it is put in."""
        return _Child(self, architecture, weights)


class _Child(nn.Module):
    def __init__(
        self, supernet: Supernet, architecture: Architecture, weights: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        # Not as a part: eval() of a child must not reach the supernet.
        self._run = partial(supernet.run, architecture=architecture, weights=weights)

    def forward(self, *inputs: Tensor) -> Any:
        return self._run(inputs)


def _mix(candidates: list[Tensor], weights: int | Tensor | None) -> Tensor:
    """Return the weighted sum of candidates; without weights their mean."""
    if weights is None:
        return torch.stack(candidates).mean(0)
    assert isinstance(weights, Tensor)
    mixed = candidates[0] * weights[0]
    for candidate, weight in zip(candidates[1:], weights[1:], strict=True):
        mixed = mixed + candidate * weight
    return mixed
