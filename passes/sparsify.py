"""Sparsify: zeros in the weights, by magnitude, without changing any shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil
from typing import ClassVar, Literal

import numpy as np

from compressc.array_types import BoolArray, FloatArray
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.contract.weight_choice import WeightChoice
from compressc.coupling.graph import couple
from compressc.coupling.weight_masks import contracted_weights, staying_weights
from compressc.errors import GoalError, PlanError
from compressc.layer_names import owner_of
from compressc.program import HistoryLine, Program

# With one threshold for all layers, each keeps this part of the share it would keep alone: a
# layer without weights passes nothing on.
_SPARED = 0.1


@dataclass(frozen=True)
class Sparsify(Pass):
    """Set the smallest weights of convolutions and linear layers to zero.

    Depthwise weights stay: they are few and each feeds a whole channel. Where channels are to
    leave as well, zeros are counted among the weights that stay.

    Attributes:
        sparsity: share of zeros in the weights it applies to.
        scope: "layer": that share in every layer; "global": one threshold for all layers.
        skip_first_last: leave the first and the last layer dense.

    Source:
        Han et al., Learning both Weights and Connections, NeurIPS 2015.

    Raises:
        GoalError: if the sparsity is not between 0 and 1.
        PlanError: if the scope is unknown.
    """

    sparsity: float = 0.9
    scope: Literal["layer", "global"] = "layer"
    skip_first_last: bool = True
    name: ClassVar[str] = "sparsify"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"zero"}))

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise GoalError(
                f"sparsity {self.sparsity:g}: give a share of zeros between 0 and 1, such as 0.9"
            )
        if self.scope not in ("layer", "global"):
            raise PlanError(f"scope '{self.scope}' is unknown; give layer or global")

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a zero plan; earlier masks of the same weights are replaced.

        Raises:
            PlanError: if no weight is left to which it applies.
        """
        del context
        names, notes = self._choose_weights(program)
        if not names:
            raise PlanError(
                "sparsify finds no weight to work on: "
                + ("; ".join(notes) or "the model has no convolution or linear layer")
            )
        tensors = couple(program).propagation.tensors
        staying = staying_weights(couple(program), program.plan, names)
        sizes = {
            name: np.abs(tensors[name].detach().double().numpy())[staying[name]] for name in names
        }
        kept = self._keep(sizes)
        zero: dict[str, BoolArray] = {}
        for name in names:
            zero[name] = np.ones(tensors[name].shape, dtype=bool)
            zero[name][staying[name]] = kept[name]
        decided = program.with_plan(program.plan.with_zero(zero))
        return decided.with_line(HistoryLine(self.name, notes=notes)) if notes else decided

    def keep_weights(self, sizes: Mapping[str, FloatArray]) -> WeightChoice:
        """Return which weights stay, where nothing but their sizes is known.

        Args:
            sizes: magnitudes by tensor, flat, in the order in which the network reads them.
        """
        names, notes = self._without_ends(list(sizes))
        return WeightChoice(self._keep({name: sizes[name] for name in names}), notes)

    def _choose_weights(self, program: Program) -> tuple[list[str], tuple[str, ...]]:
        """Return the weights to sparsify in graph order, and remarks on those left dense."""
        names, remarks = self._without_ends(list(contracted_weights(couple(program))))
        notes = [*remarks]
        chosen = []
        for name in names:
            patterns = [p for p in program.constraints.keep if fnmatchcase(owner_of(name), p)]
            if owner_of(name) in program.plan.rank:
                notes.append(f"{owner_of(name)} stays dense: it is factorised")
            elif patterns:
                notes.append(f"{owner_of(name)} stays dense: kept by --keep {patterns[0]}")
            else:
                chosen.append(name)
        return chosen, tuple(notes)

    def _without_ends(self, names: list[str]) -> tuple[list[str], tuple[str, ...]]:
        """Return the tensors but the first and the last where these stay dense, and a remark."""
        if not self.skip_first_last or len(names) <= 2:
            return names, ()
        ends = f"{owner_of(names[0])} and {owner_of(names[-1])}"
        return names[1:-1], (f"{ends} stay dense: first and last",)

    def _keep(self, sizes: dict[str, FloatArray]) -> dict[str, BoolArray]:
        return self._keep_per_layer(sizes) if self.scope == "layer" else self._keep_globally(sizes)

    def _keep_per_layer(self, sizes: dict[str, FloatArray]) -> dict[str, BoolArray]:
        return {
            name: ~_smallest(values, round(self.sparsity * len(values)))
            for name, values in sizes.items()
        }

    def _keep_globally(self, sizes: dict[str, FloatArray]) -> dict[str, BoolArray]:
        spared = []
        for values in sizes.values():
            alone = (1 - self.sparsity) * len(values)
            spared.append(~_smallest(values, len(values) - ceil(_SPARED * alone)))
        everything = np.concatenate(list(sizes.values()))
        ranked = np.where(np.concatenate(spared), np.inf, everything)
        kept = ~_smallest(ranked, round(self.sparsity * len(ranked)))
        ends = np.cumsum([len(values) for values in sizes.values()])[:-1]
        return dict(zip(sizes, np.split(kept, ends), strict=True))


def _smallest(values: FloatArray, count: int) -> BoolArray:
    """Return which ``count`` values are the smallest; of equal ones the first."""
    smallest = np.zeros(len(values), dtype=bool)
    if count > 0:
        threshold = np.partition(values, count - 1)[count - 1]
        smallest = values < threshold
        ties = np.flatnonzero(values == threshold)
        smallest[ties[: count - int(smallest.sum())]] = True
    return smallest
