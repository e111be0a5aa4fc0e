"""Disagreement: how far the outputs move when blocks are left out and nothing is repaired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressc.coupling.graph import couple
from compressc.graphs.trainable import share_module
from compressc.lowering.dropping import drop_branches
from compressc.passes.reconstruction.staged_execution import Batches
from compressc.program import Program

_TINY = 1e-12


class Disagreement:
    """Errors of leaving blocks out, by what it does to the outputs of the network as it is.

    The error of an output is its mean squared change beside what it varies by over the samples;
    that of several outputs is their mean.

    Args:
        program: the original; a pending plan is ignored.
        batches: unlabelled samples.
        progress: called with (done, total, text).
    """

    def __init__(
        self, program: Program, batches: Batches, progress: Callable[[int, int, str], None]
    ) -> None:
        self._program, self._batches, self._progress = program, batches, progress
        self._aims = self._run({})
        self._spread = [max(_TINY, _spread(column)) for column in zip(*self._aims, strict=True)]
        self._known: dict[frozenset[tuple[str, int]], float] = {}

    def __call__(self, choices: Sequence[Mapping[str, int]]) -> list[float]:
        """Return the error of each set of decisions.

        Args:
            choices: decisions, by name.
        """
        errors = []
        for done, choice in enumerate(choices):
            key = frozenset(choice.items())
            if key not in self._known:
                self._progress(done, len(choices), "leaving out blocks on trial")
                self._known[key] = self._error(self._run(choice))
            errors.append(self._known[key])
        return errors

    def _run(self, choice: Mapping[str, int]) -> list[list[Tensor]]:
        module = share_module(self._program.graph_module)
        drop_branches(module, couple(self._program).branches, choice)
        made = fx.GraphModule(module, module.graph).eval()
        with torch.no_grad():
            return [_floats(made(*(tensor.clone() for tensor in batch))) for batch in self._batches]

    def _error(self, outputs: Sequence[Sequence[Tensor]]) -> float:
        changes = [
            sum(
                float((made[place] - aim[place]).double().square().mean())
                for made, aim in zip(outputs, self._aims, strict=True)
            )
            / len(outputs)
            / spread
            for place, spread in enumerate(self._spread)
        ]
        return sum(changes) / len(changes) if changes else 0.0


def _floats(value: Any) -> list[Tensor]:
    leaves = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if leaf.is_floating_point()]


def _spread(batches: Sequence[Tensor]) -> float:
    """Return the mean square of an output about its mean over the samples of each batch."""
    return sum(float((x - x.mean(0)).double().square().mean()) for x in batches) / len(batches)
