"""Declarations enforced: a pass gets what it says it needs, and changes only what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.coupling.graph import couple
from compressc.errors import DataError, PassError, PlanError
from compressc.program import Program
from compressc.tasks.capabilities import ComparesWithOriginal, GivesSamples
from compressc.tasks.protocol import require_task

_PLAN_PARTS = ("keep", "zero", "rank", "choice")


def check_needs(entry: Pass, program: Program, context: Context) -> None:
    """Check that a pass can be called.

    Raises:
        PassError: if what it declares is no :class:`compressc.contract.declaration.Declaration`.
        DataError: if it needs samples or labels and there are none.
        PlanError: if it runs on lowered programs and decisions are pending.
    """
    declared = entry.declares
    if declared.needs in ("judge", "labels"):
        task = require_task(context.task, entry.name)
        if declared.needs == "labels" and isinstance(task, ComparesWithOriginal):
            raise DataError(
                f"{entry.name} learns from labels, and {task.inputs_from} have none; take --pass "
                "distill, which learns from the original, or give --data with labels"
            )
    if declared.needs == "samples" and not isinstance(context.task, GivesSamples):
        raise DataError(
            f"{entry.name} needs samples; give --data DIR (or --data synthetic), or task=... in "
            "Python"
            if context.task is None
            else f"{entry.name} needs samples, and {type(context.task).__name__} gives none: it "
            "lacks calibration_batches"
        )
    if declared.runs_on == "lowered" and program.plan:
        raise PlanError(
            f"{entry.name} trains what is left, but the plan is not applied yet; give it "
            "lower(program)"
        )


def check_changes(entry: Pass, before: Program, after: Program) -> None:
    """Check that a pass changed nothing but what it declares, and that its plan fits.

    Raises:
        PassError: naming what it changed.
        PlanError: if the plan does not fit the program.
    """
    couple(after).check(after.plan)
    allowed = entry.declares.changes
    changed = [
        part for part in _PLAN_PARTS if part not in allowed and not _same_part(before, after, part)
    ]
    if after.graph_module is not before.graph_module:
        if "graph" not in allowed and after.graph_module.code != before.graph_module.code:
            changed.append("graph")
        if not allowed & {"weights", "graph"} and not _same_state(before, after):
            changed.append("weights")
    if changed:
        raise PassError(
            f"pass {entry.name} changed {', '.join(changed)}, which it does not declare; this is a "
            f"fault of the pass: add it to the changes of {type(entry).__qualname__}.declares"
        )


def _same_part(before: Program, after: Program, part: str) -> bool:
    old, new = getattr(before.plan, part), getattr(after.plan, part)
    return _plain(old) == _plain(new)


def _plain(decisions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.tobytes() if hasattr(value, "tobytes") else value
        for name, value in decisions.items()
    }


def _same_state(before: Program, after: Program) -> bool:
    old, new = before.state(), after.state()
    return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)


def _same(old: Tensor, new: Tensor) -> bool:
    return old is new or (
        old.shape == new.shape
        and old.dtype == new.dtype
        # NaN equals itself here: nothing changed it.
        and torch.equal(torch.nan_to_num(old), torch.nan_to_num(new))
    )
