"""Reach: how far pruning can go, what blocks it, and what the user can do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from compressc.bounds import Bounds
from compressc.coupling.graph import couple
from compressc.errors import GoalError
from compressc.goal import Bound
from compressc.layer_names import owner_of
from compressc.plan import Plan
from compressc.program import Program

_CAUSES = 3
_LAYERS = 3
_WORTH_NAMING = 0.02


def explain_reach(
    program: Program, bounds: Mapping[str, Bound], lowest: Plan, fixed: frozenset[str]
) -> GoalError:
    """Return the error that says why the bounds cannot be met.

    Args:
        program: the program.
        bounds: the bounds by what they bound: macs, params, size_bytes.
        lowest: the smallest plan there is.
        fixed: names of groups whose width the user chose.
    """
    least = couple(program).cost(lowest)
    asked = Bounds(bounds, couple(program).cost(Plan()))
    remainder = _describe(program, asked.tightest(least), lowest, fixed)
    return asked.out_of_reach(least, "pruning", remainder, _advise(program, fixed))


def _describe(program: Program, what: str, lowest: Plan, fixed: frozenset[str]) -> str:
    """Say where the largest shares of what remains are, and why they remain."""
    reasons = _reasons_of_layers(program, fixed)
    measure = "macs" if what == "macs" else "params"
    total = sum(getattr(layer, measure) for layer in couple(program).layers(Plan()))
    shares: dict[str, float] = defaultdict(float)
    layers: dict[str, list[str]] = defaultdict(list)
    for layer in couple(program).layers(lowest):
        reason = reasons.get(layer.name, "they are as narrow as allowed")
        shares[reason] += getattr(layer, measure) / max(total, 1)
        if layer.name not in layers[reason]:
            layers[reason].append(layer.name)
    largest = sorted(shares, key=lambda reason: -shares[reason])[:_CAUSES]
    largest = [
        reason for reason in largest if shares[reason] >= _WORTH_NAMING * sum(shares.values())
    ]
    return "what stays: " + ", ".join(
        f"{shares[reason]:.2g} in {_list_layers(layers[reason])} ({reason})" for reason in largest
    )


def _reasons_of_layers(program: Program, fixed: frozenset[str]) -> dict[str, str]:
    """Return why layers keep channels, produced ones before consumed ones."""
    reasons: dict[str, str] = {}
    for role in ("out", "in"):
        for group in couple(program).groups:
            reason = "its width was given" if group.name in fixed else group.pinned
            if reason is None:
                continue
            for member in group.members:
                if member.role == role:
                    layer = owner_of(member.tensor)
                    reasons.setdefault(layer, reason)
    return reasons


def _list_layers(names: list[str]) -> str:
    more = len(names) - _LAYERS
    return ", ".join(names[:_LAYERS]) + (f" and {more} more layers" if more > 0 else "")


def _advise(program: Program, fixed: frozenset[str]) -> list[str]:
    """Return what the user can do besides raising the target."""
    advice = []
    if program.constraints.keep:
        advice.append("keep fewer layers (--keep)")
    if program.constraints.multiple_of > 1:
        advice.append(f"allow finer widths than multiples of {program.constraints.multiple_of}")
    if fixed:
        advice.append("lower the given ratios")
    return advice
