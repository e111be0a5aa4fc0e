"""Gradual pruning: the pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, fx

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.coupling.priced_costs import price_plan
from compressc.layer_names import owner_of
from compressc.passes.gradual.gradual_lesson import GradualLesson
from compressc.passes.gradual.magnitude_masks import MagnitudeMasks, count_kept, mask_smallest
from compressc.passes.gradual.prunable_weights import list_prunable_weights
from compressc.passes.gradual.ramp import Ramp
from compressc.passes.gradual.settings import GradualSettings
from compressc.passes.training.engine import run_epochs
from compressc.passes.training.fresh_weights import draw_fresh_weights
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.standing import Standing
from compressc.passes.training.trainer import describe_training, set_up
from compressc.pictures import CurvePicture
from compressc.program import HistoryLine, Program
from compressc.zero_price import SPARSE

_SHOWN = 3


@dataclass(frozen=True)
class Gradual(GradualSettings, Pass):
    """Train the network while zeros rise in its weights, by magnitude, along a cubic ramp.

    Every layer has a threshold of its own and every weight a mask. Masks follow the magnitudes
    until the ramp ends; then they are fixed, and the epoch that is best from there on is kept.
    Weights under a mask take no part and get no gradient. Zeros that were decided before stay. With
    ``--work-dir`` a run that was cut off goes on after its last epoch. The attributes are those of
    :class:`compressc.passes.gradual.settings.GradualSettings`, and of finetune.

    Source:
        Zhu and Gupta, To prune, or not to prune: exploring the efficacy of pruning for model
        compression, 2017, section 3.

    Deviations:
        A floor: no layer loses every weight.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    name: ClassVar[str] = "gradual"
    declares: ClassVar[Declaration] = Declaration(
        needs="labels", runs_on="lowered", changes=frozenset({"zero", "weights"})
    )

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with new weights, and a plan of the zeros in them.

        Raises:
            PlanError: if decisions are pending, or there is no weight to put zeros into.
            DataError: if there is no task.
            OutputError: if state cannot be written to the work directory.
        """
        names, notes = list_prunable_weights(program, skip_first_last=self.skip_first_last)
        start = draw_fresh_weights(program, context.goal.seed) if self.from_scratch else program
        setup = set_up(start, self, context, name=self.name)
        total = setup.steps * self.epochs
        learner = Learner(start, self, total, setup.processes, setup.precision)
        module = learner.module
        assert isinstance(module, fx.GraphModule)
        device = setup.processes.device
        decided = {
            name: (start.state()[name] != 0).to(device)
            for name in start.sparse_weights
            if name in names
        }
        masks = MagnitudeMasks(module, names, self.floor, decided)
        ramp = Ramp(self.sparsity, max(1, round(self.ramp * total)))
        lesson = GradualLesson(
            setup.task, learner, TaskLoss(setup.task), masks, ramp, self.prune_every, setup.steps
        )
        standing = run_epochs(setup.course, lesson)
        result = self._with_zeros(start, setup.processes.share(_on_cpu(standing)), masks)
        lines = (
            *describe_training(standing, self, setup.precision, setup.processes),
            *notes,
            *self._floors(start, masks.floored(self.sparsity)),
            _describe_cost(result),
        )
        curve = CurvePicture(
            "zeros [%]",
            "search-validation",
            tuple((100 * zeros, metric) for zeros, metric in lesson.curve),
        )
        return result.with_line(HistoryLine(self.name, notes=lines, pictures=(curve,)))

    def _with_zeros(
        self, program: Program, kept: dict[str, dict[str, Tensor]], pruner: MagnitudeMasks
    ) -> Program:
        """Return the program with weights and zeros; what a ramp did not reach is made up for."""
        masks = {}
        for name, mask in kept["masks"].items():
            masks[name] = mask
            if int(mask.sum()) > count_kept(mask.numel(), self.sparsity, self.floor):
                weight = kept["weights"][name]
                masks[name] = mask_smallest(weight, self.sparsity, self.floor, mask)
        trained = program.with_state(pruner.apply(kept["weights"], masks))
        if not self.sparsity:
            return trained
        zero = {name: mask.numpy() for name, mask in masks.items()}
        return trained.with_plan(program.plan.with_zero(zero))

    def _floors(self, program: Program, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return a remark on layers that would have lost nearly every weight."""
        if not names:
            return ()
        shown = ", ".join(
            f"{owner_of(name)} ({min(self.floor, program.state()[name].numel())} of "
            f"{program.state()[name].numel()})"
            for name in names[:_SHOWN]
        )
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return (
            f"{100 * self.sparsity:g} % zeros would leave too little of {len(names)} layer(s), "
            f"which keep more: {shown}{more}; --floor says how many weights stay",
        )


def _on_cpu(standing: Standing) -> dict[str, dict[str, Tensor]]:
    return {
        part: {name: tensor.cpu() for name, tensor in standing.kept[part].items()}
        for part in ("weights", "masks")
    }


def _describe_cost(program: Program) -> str:
    coupling = couple(program)
    cost, dense = price_plan(coupling, program.plan, SPARSE), coupling.cost(replace(program.plan))
    filters = sum(
        int((tensor.flatten(1) == 0).all(1).sum())
        for name, tensor in program.state().items()
        if name in program.plan.zero and torch.is_floating_point(tensor)
    )
    return (
        f"zeros not counted {cost.macs} of {dense.macs} MACs and {cost.params} of {dense.params} "
        f"parameters are left; {filters} filters have no weight left"
    )
