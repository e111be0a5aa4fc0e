"""Measured errors: what a group's errors do to the outputs, found by cutting it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from compressc.array_types import BoolArray, FloatArray
from compressc.clock import ProgressCallback
from compressc.coupling.graph import cost_of, couple
from compressc.passes.reconstruction.moment_repair import measure_moment_repair
from compressc.passes.widths.ladders import build_ladder
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.propagation import named_tensors
from compressc.search.candidates import build_candidate
from compressc.search.skeleton import strip_program
from compressc.tasks.agreement import measure_divergence
from compressc.tasks.protocol import Inputs

# A group that a first choice leaves (nearly) whole is tried at this share of its width.
_LEAST_CUT = 0.75
_TINY = 1e-12


def weigh_by_outputs(
    program: Program,
    errors: Mapping[str, FloatArray],
    first: Mapping[str, BoolArray],
    batches: Sequence[Inputs],
    ridge: float,
    macs: float,
    progress: ProgressCallback,
) -> dict[str, FloatArray]:
    """Return the errors of units in the currency of the outputs.

    Errors of layers do not say how much the outputs suffer. Each group is cut alone, the layers
    that read it are refitted from moments, and the divergence of the outputs from the original's
    is measured: the errors of its units are scaled so that those which left add up to it.

    Args:
        program: the original; a pending plan is ignored.
        errors: of the layers that read the units, per group that is not pinned.
        first: which units would stay by these errors; groups that stay whole may be missing.
        batches: unlabelled samples.
        ridge: of the refitting.
        macs: that measuring may take; fewer samples are used where it would take more.
        progress: called with (done, total, text).

    Shape:
        each result: (units,), float64.
    """
    coupling, module = couple(program), strip_program(program)
    groups = [group for group in coupling.groups if group.name in errors]
    repair = measure_moment_repair(program, batches, ridge, progress)
    judged = _affordable(program, batches, macs / max(1, len(groups)))
    with torch.no_grad():
        outputs = [module(*inputs) for inputs in judged]
    state = named_tensors(module)
    weighed = {}
    for done, group in enumerate(groups):
        progress(done, len(groups), f"cutting {group.name} alone")
        ladder = build_ladder(group, errors[group.name])
        share = float(first[group.name].mean()) if group.name in first else 1.0
        mask = ladder.mask(ladder.rung_at(min(share, _LEAST_CUT)))
        weighed[group.name] = errors[group.name]
        if mask.all():
            continue
        plan = Plan(keep={group.name: mask})
        mended = repair.mend(state, coupling, plan)
        candidate = build_candidate(module, coupling, plan, len(judged), mended)
        measured = _diverge(candidate, judged, outputs)
        predicted = float(errors[group.name][~mask].sum())
        weighed[group.name] = errors[group.name] * (max(measured, _TINY) / max(predicted, _TINY))
    return weighed


def _affordable(program: Program, batches: Sequence[Inputs], macs: float) -> list[Inputs]:
    """Return as many of the batches as take so many MACs, one at least."""
    whole = cost_of(replace(program, plan=Plan())).macs
    taken, used = [], 0.0
    for batch in batches:
        used += whole * max(len(tensor) for tensor in batch if tensor.dim())
        if taken and used > macs:
            break
        taken.append(batch)
    return taken


def _diverge(
    module: torch.nn.Module, batches: Sequence[Inputs], outputs: Sequence[object]
) -> float:
    with torch.no_grad():
        values = [
            float(measure_divergence(module(*inputs), aim))
            for inputs, aim in zip(batches, outputs, strict=True)
        ]
    return float(np.mean(values))
