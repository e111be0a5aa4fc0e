"""Checks: what a compression has to pass before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compressc.bounds import Bounds
from compressc.costs import Cost
from compressc.goal import Bound, Goal, LatencyBound
from compressc.latency.measured_latency import read_latency
from compressc.parity.onnx_parity import Parity
from compressc.proof.equivalence import Equivalence
from compressc.runtime.bench_result import BenchResult
from compressc.verdict import Check

# The counts in the ONNX file follow other conventions for a few operations (an attention that was
# decomposed, a pooling written as a matrix product), so a ratio of counts may be off by this.
_COUNT_TOLERANCE = 0.01
# Counts move in steps and times differ between runs: this much above a latency still meets it.
_LATENCY_TOLERANCE = 0.05


@dataclass(frozen=True)
class Counted:
    """What an ONNX file itself says it costs.

    Attributes:
        macs: per sample; None where some of them cannot be counted.
        file_bytes: of the file.
        uncounted: the first thing that cannot be counted, in words; empty where all is counted.
    """

    macs: int | None
    file_bytes: int
    uncounted: str = ""


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


def check_parity(parity: Parity, runtime: str = "ONNX Runtime") -> Check:
    """Judge the ONNX file in ONNX Runtime, or in what else ran it, against the torch module."""
    batches = ", ".join(str(batch) for batch in parity.batches)
    # Where the output is nearly the same for every input, an error has nowhere to show.
    dull = [output.name for output in parity.outputs if not output.informative]
    remark = f"; hardly varies over inputs, so a weak test: {', '.join(dull)}" if dull else ""
    return Check(
        f"torch == {runtime}",
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


def check_costs(
    goal: Goal, original: Cost, result: Cost, before: Counted | None, after: Counted
) -> list[Check]:
    """Judge every bound by the program's cost and by the ONNX file itself.

    MACs that cannot be counted in the file are judged by the program alone where the bound is a
    ratio. An absolute bound fails then: nobody knows whether the file meets it.

    Args:
        goal: the bounds as the user gave them.
        original: cost of the program before.
        result: cost of the program after.
        before: what the original's ONNX file says; None where it was not exported.
        after: what the compressed ONNX file says.
    """
    bounds, checks = Bounds(goal.bounds, original), []
    full_bytes = before.file_bytes if before else original.size_bytes
    full_macs = before.macs if before and before.macs else original.macs
    for what, bound in goal.bounds.items():
        if what == "size_bytes":
            # The file, not the weights alone.
            whole = replace(original, size_bytes=full_bytes)
            reached = replace(result, size_bytes=after.file_bytes)
            checks.append(_check("ONNX file bytes", what, replace(bounds, original=whole), reached))
            continue
        checks.append(_check(what, what, bounds, result))
        if what == "macs" and after.macs is not None:
            counted = replace(bounds, original=replace(original, macs=full_macs))
            reached = replace(result, macs=after.macs)
            name = "macs in the ONNX file"
            checks.append(_check(name, what, counted, reached, _COUNT_TOLERANCE))
        elif what == "macs" and not bound.relative:
            checks.append(
                Check(
                    "macs in the ONNX file within the target",
                    False,
                    f"{after.uncounted or 'some cannot be counted'}; give a ratio of the original",
                )
            )
    return checks


def check_latency(
    bound: LatencyBound,
    numbers: Mapping[str, float],
    device: str,
    bench: BenchResult | None,
    in_int8: bool = False,
) -> Check:
    """Judge a latency by the measured file, or by the prediction where that is all there is.

    Args:
        bound: as the user gave it.
        numbers: ``predicted_latency_ms`` and ``original_latency_ms`` as the pass that decided
            knew them; may be empty where there is a measurement.
        device: the machine of a cost table that was brought along; empty for this machine.
        bench: the original, then the final file; None where they were not measured.
        in_int8: whether the final file is int8, which what was predicted is not.
    """
    if in_int8 and (device or bench is None):
        return Check("latency goal", False, "nothing measured the int8 file; measure it")
    predicted = numbers.get("predicted_latency_ms")
    original = numbers.get("original_latency_ms", 0.0)
    if device or bench is None:
        if predicted is None:
            return Check("latency goal", False, "nothing measured or predicted it; measure it")
        where = f" for {device}; measure it there" if device else ""
        reached, original, how = predicted, original, f"predicted, not measured{where}"
    else:
        latency = read_latency(bound, bench)
        reached, original, how = latency.reached_ms, latency.original_ms, latency.how
        if predicted is not None and numbers.get("original_latency_ms"):
            share = predicted / numbers["original_latency_ms"]
            how += f", predicted {share:.3g} of the original"
            how += " in float32" if in_int8 else ""
        if in_int8:
            how = f"the int8 file, {how}"
    target = bound.absolute(original)
    return Check(
        "latency goal",
        reached <= (1 + _LATENCY_TOLERANCE) * target,
        f"{reached:.4g} ms, {reached / original if original else 0:.3g} of the original, target "
        f"{latency_text(bound)}; {how}",
        {
            "reached_ms": reached,
            "target_ms": target,
            "original_ms": original,
            **({"predicted_ms": predicted} if predicted is not None else {}),
        },
    )


def latency_text(bound: LatencyBound) -> str:
    """Return a latency as the user would write it."""
    amount = f"{bound.value:g} of the original" if bound.relative else f"{bound.value:g} ms"
    return f"{amount} at {bound.percentile}"


def _check(name: str, what: str, bounds: Bounds, cost: Cost, tolerance: float = 0.0) -> Check:
    bound, reached, ratio = bounds.limits[what], getattr(cost, what), bounds.share(what, cost)
    text = f"{ratio:.4f} of the original" if bound.relative else f"{reached:.0f}"
    allowed = bounds.allowed(what)
    return Check(
        f"{name} within the target",
        reached <= allowed + tolerance * getattr(bounds.original, what),
        f"{text}, target {bound_text(bound)}",
        {"reached": reached, "allowed": allowed, "ratio": ratio},
    )


def bound_text(bound: Bound) -> str:
    """Return a bound as the user would write it."""
    return f"{bound.value:g} of the original" if bound.relative else f"{bound.value:.0f}"
