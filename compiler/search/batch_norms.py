"""Batch norm statistics measured anew: what keeps a cut network from chance level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from compressc.graphs.trainable import clone_module
from compressc.program import Program
from compressc.proof.masking import masked
from compressc.tasks.protocol import Inputs

aten = torch.ops.aten

_MEAN, _VARIANCE, _TRAINING, _MOMENTUM = 3, 4, 5, 6


def reestimate_statistics(module: fx.GraphModule, batches: Sequence[Inputs]) -> None:
    """Replace the running statistics of every batch norm by those of some batches.

    Each batch norm sees what the layers before it compute with batch statistics, as in training.
    The module gets buffers of its own; its weights stay.

    Args:
        module: in evaluation mode; batch norms without statistics stay as they are.
        batches: inputs; every batch counts alike.
    """
    norms = [node for node in module.graph.nodes if _has_statistics(node)]
    if not norms or not batches:
        return
    for node in norms:
        for index in (_MEAN, _VARIANCE):
            name = str(node.args[index].target)
            owner, _, leaf = name.rpartition(".")
            place = module.get_submodule(owner)
            setattr(place, leaf, getattr(place, leaf).detach().clone())
    run = _TrainingStatistics(module, {node.name for node in norms})
    with torch.no_grad():
        for number, inputs in enumerate(batches, start=1):
            run.momentum = 1 / number
            run.run(*inputs)


def with_statistics(program: Program, batches: Sequence[Inputs]) -> Program:
    """Return the program with the statistics that its decided network has on some batches.

    Channels that leave keep theirs up to noise; they are never read.
    """
    clone = replace(program, graph_module=clone_module(program.graph_module))
    pupil = masked(clone)
    reestimate_statistics(pupil, batches)
    measured = dict(pupil.named_buffers(remove_duplicate=False))
    state = program.state()
    return program.with_state({name: measured.get(name, tensor) for name, tensor in state.items()})


class _TrainingStatistics(fx.Interpreter):
    """Runs batch norms on the statistics of the batch and averages these into the running ones."""

    def __init__(self, module: fx.GraphModule, norms: set[str]) -> None:
        super().__init__(module)
        self.momentum = 1.0
        self._norms = norms

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        if n.name not in self._norms:
            return super().run_node(n)
        arguments, keywords = self.fetch_args_kwargs_from_env(n)
        changed = list(arguments)
        changed[_TRAINING], changed[_MOMENTUM] = True, self.momentum
        return self.call_function(n.target, tuple(changed), keywords)


def _has_statistics(node: fx.Node) -> bool:
    if node.target is not aten.batch_norm.default or node.args[_TRAINING] is not False:
        return False
    sources = (node.args[_MEAN], node.args[_VARIANCE])
    return all(isinstance(source, fx.Node) and source.op == "get_attr" for source in sources)
