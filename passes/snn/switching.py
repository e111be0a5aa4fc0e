"""SNN: the pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.passes.snn.aim_choice import choose_aims
from compressc.passes.snn.aims import switch
from compressc.passes.snn.factor_pictures import draw
from compressc.passes.snn.folding import fold_factors
from compressc.passes.snn.settings import SnnSettings
from compressc.passes.snn.switch_training import Switched, train_switchers
from compressc.passes.snn.switched_layers import SwitchedLayer, find_switched_layers
from compressc.passes.training.fresh_weights import draw_fresh_weights
from compressc.passes.training.pending import check_nothing_pending
from compressc.program import HistoryLine, Program


@dataclass(frozen=True)
class Snn(SnnSettings, Pass):
    """Let networks that read the weights switch connections or neurons off, weaker or stronger.

    A switcher, a small U-net, reads the weight matrix of each fully connected layer and answers
    with a factor for each connection or each neuron. Switchers and network learn in turn by the
    task's loss; no term asks for zeros. Then the weights are multiplied with the factors: an
    ordinary network is left. Neurons that nothing reads leave, with all that feeds them; other
    zeros are kept as any sparse weight's. With --sparsity, or a goal such as --target-params, a
    threshold on what switching leaves rises while they learn, until the result is as small.

    The attributes are those of :class:`compressc.passes.snn.settings.SnnSettings`.

    Source:
        Han, Liu, Hai, Li, Explore the Knowledge contained in Network Weights to Obtain Sparse
        Neural Networks, arXiv 2103.15590, 2021.

    Deviations:
        Switchers take a step for several batches together (``switch_every``), with the mean of
        their gradients. In the network's epochs factors stay those of the beginning of the epoch,
        and they are what is folded. Weights reach a switcher divided by their root mean square.
        Thresholds, and switched convolutions, are not in the paper.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    name: ClassVar[str] = "snn"
    declares: ClassVar[Declaration] = Declaration(
        needs="judge", changes=frozenset({"keep", "zero", "weights", "graph"})
    )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with new weights, and a plan of what left.

        Raises:
            DataError: if there is no task, or no training data.
            GoalError: if the parameters asked for are out of reach.
            PlanError: if channels, ranks or new zeros are pending, no layer can be switched, or a
                matrix is too large for the memory.
            OutputError: if state cannot be written.
        """
        check_nothing_pending(program, self.name)
        layers, notes = find_switched_layers(program, self.layers, self.mode)
        aims, remarks = choose_aims(program, layers, self, context.goal)
        start = draw_fresh_weights(program, context.goal.seed) if self.from_scratch else program
        switched = train_switchers(start, layers, aims, self, context)
        factors, kept = _switch(layers, switched)
        folded = fold_factors(program, switched.network, layers, factors)
        lines = (*notes, *remarks, *switched.notes, *kept, *_describe(layers, factors, folded))
        return folded.with_line(
            HistoryLine(
                self.name,
                notes=lines,
                pictures=tuple(
                    draw(layer.name, each, levels)
                    for layer, each, levels in zip(layers, factors, switched.levels, strict=True)
                ),
            )
        )

    def rehearsal(self) -> Pass:
        """Return a pass that decides nothing: switchers need no channel step to be sought."""
        return _Rehearsal()


@dataclass(frozen=True)
class _Rehearsal(Pass):
    """Decides nothing."""

    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset())

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program as it is."""
        del context
        return program


def _switch(
    layers: Sequence[SwitchedLayer], switched: Switched
) -> tuple[list[Tensor], tuple[str, ...]]:
    """Return each layer's factors at the end, and remarks on what was kept against them."""
    factors, remarks = [], []
    for index, (layer, picture) in enumerate(zip(layers, switched.factors, strict=True)):
        each, remark = switch(picture, [masks[index] for masks in switched.masks])
        factors.append(each)
        if remark:
            remarks.append(f"{layer.name}: {remark}")
    return factors, tuple(remarks)


def _describe(
    layers: Sequence[SwitchedLayer], factors: Sequence[Tensor], program: Program
) -> list[str]:
    """Return a line for each layer: what became of its connections, and of its inputs."""
    lines = []
    state = program.state()
    for layer, each in zip(layers, factors, strict=True):
        off, weak = float((each == 0).float().mean()), float((each < 1).float().mean())
        living = int((state[layer.weight] != 0).sum())
        what = "connections" if layer.mode == "connection" else "neurons"
        lines.append(
            f"{layer.name}: {100 * off:.1f} % of {each.numel()} {what} switched off, "
            f"{100 * (weak - off):.1f} % weakened, {100 * (1 - weak):.1f} % as they were or "
            f"stronger; {living} of {state[layer.weight].numel()} weights are left"
        )
    return lines
