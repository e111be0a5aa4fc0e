"""Progressive pruning: after every segment the network is trained, measured and judged anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from compressc.array_types import BoolArray, FloatArray
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.lowering.lowered import lower
from compressc.passes.rl_mcts.arena import Arena
from compressc.passes.rl_mcts.preparation import MeasureOf
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.rl_mcts.retraining import retrain, spread_features
from compressc.passes.rl_mcts.state_matrix import FeatureSheet, fill_sheet
from compressc.passes.unit_features.registry import FeatureName
from compressc.program import Program
from compressc.search.evaluation import Evaluator

OpenEvaluator = Callable[[Program, Goal], Evaluator]


@dataclass(eq=False)
class Retraining:
    """Trains what is left, and makes everything anew that depends on weights.

    Attributes:
        units: of the network; its program is the one with the weights of now.
        sheet: features of now.
        epochs: of training after a segment.
        context: task, goal and work directory.
        measure: measures a feature of a program.
        open_evaluator: judges plans of a program within a budget.
        name: the pass.
        sheets: features of every stage so far, the first those of the original.
        charged: candidates that evaluators before this one judged.
    """

    units: PrunableUnits
    sheet: FeatureSheet
    epochs: int
    context: Context
    measure: MeasureOf
    open_evaluator: OpenEvaluator
    name: str
    sheets: list[FeatureSheet] = field(default_factory=list)
    charged: int = 0

    @property
    def program(self) -> Program:
        """The network with the weights of now."""
        return self.units.program

    def advance(self, kept: BoolArray, arena: Arena) -> tuple[Arena, FeatureSheet]:
        """Train what is left; return where it is judged from now on, and its features.

        Args:
            kept: units that are left, shape (units,).
            arena: until now; its standard and its history go on.

        Raises:
            DataError: if there is no training data.
            FeatureError: if a feature is no number afterwards.
        """
        plan = self.units.plan_of(kept)
        trained = retrain(self.program, plan, self.epochs, self.context, self.name)
        units = replace(self.units, program=trained)
        small, before = lower(trained.with_plan(plan)), self.sheet

        def measure(name: FeatureName) -> Mapping[str, FloatArray]:
            old = units.by_group(before.raw[name])
            return spread_features(units, kept, self.measure(small, name), old)

        self.sheet = fill_sheet(units, measure)
        self.sheets.append(self.sheet)
        self.charged += arena.evaluator.spent
        return self._open(units, arena), self.sheet

    def state(self) -> dict[str, Any]:
        """Return what cannot be made again: weights and features."""
        return {
            "weights": self.program.state(),
            "charged": self.charged,
            "sheets": [
                {name: torch.from_numpy(values) for name, values in sheet.raw.items()}
                for sheet in self.sheets
            ],
        }

    def restore(self, state: Mapping[str, Any], arena: Arena) -> Arena:
        """Take over what :meth:`state` returned; return where candidates are judged."""
        units = replace(self.units, program=self.program.with_state(state["weights"]))
        self.charged = state["charged"]
        for raw in state["sheets"]:
            lined = {name: units.by_group(values.numpy()) for name, values in raw.items()}
            self.sheet = fill_sheet(units, lambda name, lined=lined: lined[name])  # type: ignore[misc]
            self.sheets.append(self.sheet)
        return self._open(units, arena)

    def _open(self, units: PrunableUnits, arena: Arena) -> Arena:
        self.units = units
        goal = self.context.goal
        if goal.trials is not None:
            goal = replace(goal, trials=max(1, goal.trials - self.charged))
        evaluator = self.open_evaluator(units.program, goal)
        return Arena(units, evaluator, arena.standard, arena.recorder)
