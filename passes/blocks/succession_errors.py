"""Succession errors: what is lost when blocks leave and the layers in front take over for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from compressc.coupling.graph import couple
from compressc.operators import is_mutating
from compressc.passes.reconstruction.layers import Layer, cut_batches, find_layers
from compressc.passes.reconstruction.least_squares import NormalEquations
from compressc.passes.reconstruction.patches import rows_of_output, unfold_input
from compressc.passes.reconstruction.staged_execution import Batches, StagedExecution
from compressc.passes.reconstruction.succession import Successor, find_successors
from compressc.plan import Plan
from compressc.program import Program

_TINY = 1e-12


class SuccessionErrors:
    """Errors of leaving blocks out that least squares cannot repair, measured when asked for.

    A layer in front of blocks that leave is refitted so that with what is added to it it makes what
    the last of these blocks made: that is what ``calibrate`` does. What it cannot reach, beside the
    variance of that value, is the error; where no layer can take over, it is all that the value
    differs from the skip by, a constant apart. The layers read what they read in the original.

    The unit is that of the reconstruction errors of channels, so that both can be added up.

    Args:
        program: the original; a pending plan is ignored.
        batches: unlabelled samples.
        ridge: damping of the least squares, as a share of the mean square of a feature.
        progress: called with (done, total, text).
    """

    def __init__(
        self,
        program: Program,
        batches: Batches,
        ridge: float,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self._program = replace(program, plan=Plan())
        self._batches, self._ridge, self._progress = batches, ridge, progress
        graph = program.graph_module.graph
        self._layers = find_layers(self._program, [node.name for node in graph.nodes])
        self._known: dict[Successor, float] = {}

    def __call__(self, choices: Sequence[Mapping[str, int]]) -> list[float]:
        """Return the error of each set of decisions; what is not known yet is measured in one run.

        Args:
            choices: decisions, by name.
        """
        graph, branches = self._program.graph_module.graph, couple(self._program).branches
        needed = [find_successors(graph, branches, choice) for choice in choices]
        asked = dict.fromkeys(successor for each in needed for successor in each)
        self._measure([successor for successor in asked if successor not in self._known])
        return [sum(self._known[successor] for successor in each) for each in needed]

    def _measure(self, successors: Sequence[Successor]) -> None:
        if not successors:
            return
        module = self._program.graph_module
        order = list(module.graph.nodes)
        written = any(is_mutating(node) for node in order)
        ends = {successor: set(self._values_of(successor)) for successor in successors}
        run = StagedExecution(module, order, self._batches)
        held: dict[str, list[Tensor]] = {}
        waiting = list(successors)
        for done, node in enumerate(order):
            if not waiting:
                break
            self._progress(done, len(order), "measuring what blocks are worth")
            run.advance()
            if any(node.name in ends[successor] for successor in waiting):
                values = run.values(node)
                # What is computed in place later would be another value under the same name.
                held[node.name] = [value.clone() for value in values] if written else values
            for successor in [s for s in waiting if s.target == node.name]:
                self._known[successor] = self._error(successor, held)
                waiting.remove(successor)
            for name in held.keys() - {name for s in waiting for name in ends[s]}:
                del held[name]

    def _values_of(self, successor: Successor) -> Iterable[str]:
        layer = self._layer_of(successor)
        yield successor.target
        if layer is None:
            yield successor.skip
        else:
            yield layer.source
            if successor.shortcut is not None:
                yield successor.shortcut

    def _layer_of(self, successor: Successor) -> Layer | None:
        return None if successor.layer is None else self._layers.get(successor.layer)

    def _error(self, successor: Successor, held: Mapping[str, list[Tensor]]) -> float:
        targets, layer = held[successor.target], self._layer_of(successor)
        if layer is None:
            pairs = zip(targets, held[successor.skip], strict=True)
            return _variance([t - s for t, s in pairs]) / max(_variance(targets), _TINY)
        added = None if successor.shortcut is None else held[successor.shortcut]
        return self._unreached(layer, held[layer.source], targets, added)

    def _unreached(
        self,
        layer: Layer,
        inputs: list[Tensor],
        targets: list[Tensor],
        added: list[Tensor] | None,
    ) -> float:
        """Return what a layer cannot make of a value, beside the value's variance."""
        weight = couple(self._program).propagation.tensors[layer.weight]
        rows, device = layer.geometry.conv_groups, weight.device
        features, outputs = weight[0].numel(), len(weight) // rows
        equations = NormalEquations(rows, features, outputs, device)
        for patches, wish in _rows(layer, inputs, targets, added):
            equations.add(patches, wish)
        start = torch.zeros(rows, outputs, features, dtype=torch.float64, device=device)
        weights, constant = equations.solve(start, self._ridge, intercept=True)
        missed, seen = 0.0, 0
        for patches, wish in _rows(layer, inputs, targets, added):
            left = wish - patches.double() @ weights.mT - constant[:, None]
            missed += float(left.square().sum())
            seen += left.shape[1]
        return missed / seen / max(_variance(targets), _TINY)


def _rows(
    layer: Layer, inputs: list[Tensor], targets: list[Tensor], added: list[Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what a layer reads, and what it would have to make of it.

    Shape:
        (conv_groups, rows, features) and (conv_groups, rows, outputs).
    """
    geometry = layer.geometry
    space = targets[0].shape[2:] if geometry.rank else ()
    for index, samples, grid in cut_batches(layer, inputs, space):
        wish = rows_of_output(targets[index][samples], geometry, grid).double()
        if added is not None:
            wish = wish - rows_of_output(added[index][samples], geometry, grid).double()
        yield unfold_input(inputs[index][samples], geometry, grid), wish


def _variance(values: Sequence[Tensor]) -> float:
    """Return the summed variance of the channels (or features) of a value."""
    axis = 1 if values[0].dim() > 3 or values[0].dim() == 2 else -1
    rows = torch.cat([value.movedim(axis, -1).reshape(-1, value.shape[axis]) for value in values])
    return float(rows.double().var(0, correction=0).sum())
