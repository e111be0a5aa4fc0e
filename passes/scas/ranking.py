"""Ranking: which of some architectures does best with the pruned weights of the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.passes.scas.settings import ScasSettings
from compressc.plan import Plan
from compressc.program import Program
from compressc.search.evaluation import Conditions, Evaluator
from compressc.search.executors import open_executor
from compressc.search.repair import CandidateRepair
from compressc.tasks.protocol import Task


@dataclass(frozen=True)
class Ranked:
    """An architecture and how it did.

    Attributes:
        choice: its decisions.
        metric: on search-validation, with pruned weights.
    """

    choice: Mapping[str, int]
    metric: float


def rank_architectures(
    program: Program,
    weights: Mapping[str, Tensor],
    choices: Sequence[Mapping[str, int]],
    task: Task,
    settings: ScasSettings,
    context: Context,
    repair: CandidateRepair | None = None,
) -> list[Ranked]:
    """Return architectures, the best first; of equal ones the earlier.

    Args:
        program: the supernet.
        weights: pruned shared weights, which replace the supernet's.
        choices: the architectures.
        task: judges.
        settings: workers, and samples for batch norms.
        context: seed, progress, and where trials are kept.
        repair: gives architectures weights of their own; None where they share all.

    Raises:
        ExecutorError: if workers cannot be reached or are lost again and again.
        TransportError: if the task cannot be sent to workers.
    """
    state = {**program.state(), **weights}
    shared = program.with_state({name: torch.as_tensor(value) for name, value in state.items()})
    conditions = Conditions(recalibrate=settings.recalibrate, seed=context.goal.seed)
    with open_executor(settings.workers, settings.dask) as executor:
        evaluator = Evaluator(
            shared,
            task,
            replace(Goal(seed=context.goal.seed)),
            conditions,
            repair=repair,
            executor=executor,
            work_dir=context.work_dir,
            progress=lambda done, total, _: context.progress(
                done, total, f"ranking {total} architectures"
            ),
        )
        trials = evaluator.evaluate([Plan(choice=dict(choice)) for choice in choices])
    ranked = [
        Ranked(choice, trial.metric)
        for choice, trial in zip(choices, trials, strict=True)
        if trial is not None
    ]
    return sorted(ranked, key=lambda entry: -entry.metric)
