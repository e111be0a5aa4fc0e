"""Amounts as people write them: 0.5, 50%, 2G, 500M, 4MB."""

from __future__ import annotations

import re

from compressc.errors import GoalError
from compressc.goal import Bound, parse_bound

_AMOUNT = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%|(?:[kmgt]i?)?b?)", re.IGNORECASE | re.ASCII
)
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_target(option: str, text: str, *, of_bytes: bool) -> Bound:
    """Read the value of a target option: a ratio below 1, a percentage, or an amount.

    Args:
        option: for messages.
        text: the value.
        of_bytes: whether the option bounds a size in bytes.

    Raises:
        GoalError: if the text is no number, or no sensible target, or in bytes where they make no
            sense.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        if text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise GoalError(f"{option} {text}: must be a finite number above 0")
        raise GoalError(
            f"{option} '{text}': not a number; give a ratio such as 0.5 (keep half), "
            "or an amount such as 2G, 500M or 4MB"
        )
    value, unit = float(match[1]), match[2].lower()
    if unit == "%":
        if not 0 < value < 100:
            raise GoalError(f"{option} {text}: a percentage must lie between 0 and 100")
        return Bound(value / 100, relative=True)
    if unit == "":
        bound = parse_bound(option, value)
        assert bound is not None
        return bound
    if value <= 0:
        raise GoalError(f"{option} {text}: must be above 0")
    if unit.endswith("b") and not of_bytes:
        raise GoalError(
            f"{option} {text}: is a size in bytes; give a ratio such as 0.5, or an amount such as "
            "500M, or use --target-size"
        )
    prefix = unit.removesuffix("b")
    factor = _BINARY[prefix[0]] if prefix.endswith("i") else _DECIMAL[prefix]
    return Bound(value * factor, relative=False)
