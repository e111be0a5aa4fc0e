"""Checks: what a compression has to pass before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compressc.backend.onnx_parity import Parity
from compressc.costs import Cost
from compressc.equivalence import Equivalence
from compressc.goal import Bound, Goal
from compressc.verdict import Check

# The counts in the ONNX file follow other conventions for a few operations (an attention that was
# decomposed, a pooling written as a matrix product), so a ratio of counts may be off by this.
_COUNT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Counted:
    """What an ONNX file itself says it costs; ``macs`` per sample, None where not countable."""

    macs: int | None
    file_bytes: int


def check_equivalence(equivalence: Equivalence) -> Check:
    """Judge the lowered program against the masked one."""
    return Check(
        "lowered == masked",
        equivalence.passed,
        f"they differ by {equivalence.relative_error:.1e} of what the output varies by "
        f"(allowed {equivalence.tolerance:.0e}; float64)"
        + ("" if equivalence.informative else "; it hardly varies over inputs, so a weak test"),
        {
            "relative_error": equivalence.relative_error,
            "max_error": equivalence.max_error,
            "variation": equivalence.variation,
            "tolerance": equivalence.tolerance,
        },
    )


def check_parity(parity: Parity) -> Check:
    """Judge the ONNX file in ONNX Runtime against the torch module."""
    batches = ", ".join(str(batch) for batch in parity.batches)
    # Where the output is nearly the same for every input, an error has nowhere to show.
    dull = [output.name for output in parity.outputs if not output.informative]
    remark = f"; hardly varies over inputs, so a weak test: {', '.join(dull)}" if dull else ""
    return Check(
        "torch == ONNX Runtime",
        parity.passed,
        f"largest difference {parity.max_error:.1e}, tolerance {parity.tolerance:.1e}, "
        f"batch {batches}{remark}",
        {
            "max_error": parity.max_error,
            "tolerance": parity.tolerance,
            "batches": batches,
        },
    )


def check_predicted_cost(predicted: Cost, lowered: Cost) -> Check:
    """Judge the cost the search was steered by against the cost of what was built."""
    return Check(
        "predicted cost == built cost",
        (predicted.macs, predicted.params) == (lowered.macs, lowered.params),
        f"{lowered.macs} MACs and {lowered.params} params, "
        f"predicted {predicted.macs} and {predicted.params}",
        {"macs": lowered.macs, "params": lowered.params},
    )


def check_goal(
    goal: Goal, original: Cost, result: Cost, before: Counted | None, after: Counted
) -> list[Check]:
    """Judge every bound by the program's cost and by the ONNX file itself.

    Args:
        goal: the bounds as the user gave them.
        original: cost of the program before.
        result: cost of the program after.
        before: what the original's ONNX file says; None where it was not exported.
        after: what the compressed ONNX file says.
    """
    checks = []
    for what, bound in goal.bounds.items():
        if what == "size_bytes":
            full = before.file_bytes if before else original.size_bytes
            checks.append(_bound_check("ONNX file bytes", bound, full, after.file_bytes, 0.0))
            continue
        checks.append(_bound_check(what, bound, getattr(original, what), getattr(result, what), 0))
        if what == "macs" and after.macs is not None:
            full = before.macs if before and before.macs else original.macs
            checks.append(
                _bound_check("macs in the ONNX file", bound, full, after.macs, _COUNT_TOLERANCE)
            )
    return checks


def _bound_check(what: str, bound: Bound, full: float, reached: float, tolerance: float) -> Check:
    allowed = bound.absolute(full)
    ratio = reached / full if full else 0.0
    text = f"{ratio:.4f} of the original" if bound.relative else f"{reached:.0f}"
    target = f"{bound.value:g} of the original" if bound.relative else f"{bound.value:.0f}"
    numbers: Mapping[str, float] = {"reached": reached, "allowed": allowed, "ratio": ratio}
    return Check(
        f"{what} within the target",
        reached <= allowed + tolerance * full,
        f"{text}, target {target}",
        numbers,
    )


def bound_text(bound: Bound) -> str:
    """Return a bound as the user would write it."""
    return f"{bound.value:g} of the original" if bound.relative else f"{bound.value:.0f}"
