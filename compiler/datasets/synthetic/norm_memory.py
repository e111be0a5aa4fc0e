"""Norm memory: what the batch norms of a trained network remember of the data it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressc.graphs.trainable import clone_module
from compressc.operators import argument_of
from compressc.program import Program

aten = torch.ops.aten

# Below this a channel of a batch norm never varied, and nothing can be compared with it.
_LEAST_VARIANCE = 1e-10

# Mean and deviation of each channel, (channels,) both.
Statistics = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class NormMemory:
    """The statistics of every trained batch norm, and the network that shows them anew.

    Attributes:
        module: returns the :data:`Statistics` of what each of these batch norms reads, as a tuple,
            and the outputs of the network, flat. Its weights take no gradient.
        remembered: the statistics of the training data, in the order of the module.
        fresh: how many batch norms have the statistics they were born with, mean 0 and variance 1.
    """

    module: fx.GraphModule
    remembered: tuple[Statistics, ...]
    fresh: int

    def distance(self, shown: Sequence[Statistics]) -> Tensor:
        """Return how far the statistics of a batch lie from the remembered ones, a scalar.

        Mean square of the errors of means and deviations, in remembered deviations, averaged over
        channels and then over batch norms.
        """
        errors = [
            ((mean - old_mean) / old_deviation).square().mean()
            + (deviation / old_deviation - 1).square().mean()
            for (mean, deviation), (old_mean, old_deviation) in zip(
                shown, self.remembered, strict=True
            )
        ]
        return torch.stack(errors).mean()


def read_norm_memory(program: Program) -> NormMemory:
    """Return what the batch norms of a network remember; ``remembered`` is empty for none."""
    state = program.state()
    module = clone_module(program.graph_module).requires_grad_(False)
    graph = module.graph
    shown, remembered, fresh = [], [], 0
    for node in list(graph.nodes):
        if node.target is not aten.batch_norm.default or argument_of(node, "training"):
            continue
        buffers = [argument_of(node, f"running_{what}") for what in ("mean", "var")]
        if not all(isinstance(buffer, fx.Node) and buffer.op == "get_attr" for buffer in buffers):
            continue
        mean, variance = (state[str(buffer.target)].detach().float() for buffer in buffers)
        if not mean.any() and bool((variance == 1).all()):
            fresh += 1
            continue
        # Taken just then: a later node may overwrite what the batch norm reads.
        with graph.inserting_before(node):
            shown.append(graph.call_function(_measure, (argument_of(node, "input"),)))
        remembered.append((mean, variance.clamp_min(_LEAST_VARIANCE).sqrt()))
    output = graph.output_node()
    output.args = ((tuple(shown), output.args[0]),)
    # What is returned is nested otherwise now than the network's code generator knows.
    graph.set_codegen(fx.graph.CodeGen())
    module.recompile()
    return NormMemory(module, tuple(remembered), fresh)


def _measure(values: Tensor) -> Statistics:
    """Return mean and deviation of each channel over batch and space."""
    axes = [axis for axis in range(values.dim()) if axis != 1]
    variance, mean = torch.var_mean(values.float(), dim=axes, correction=0)
    return mean, (variance + _LEAST_VARIANCE).sqrt()
