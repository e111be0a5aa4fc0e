"""Quantities as people read them."""

from __future__ import annotations

_DECIMAL = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def readable_count(value: float) -> str:
    """Return a count with three significant digits: 4.09 G, 25.6 M, 270 k, 12."""
    for factor, letter in _DECIMAL:
        if abs(value) >= factor * 0.9995:
            return f"{_three_digits(value / factor)} {letter}"
    return f"{value:.0f}"


def readable_bytes(value: float) -> str:
    """Return a size in decimal units, as file managers show it: 102 MB, 4.1 kB, 12 B."""
    return f"{readable_count(value)}B" if abs(value) >= 999.5 else f"{value:.0f} B"


def readable_ms(value: float) -> str:
    """Return a latency with three significant digits: 0.123 ms, 45.6 ms."""
    return f"{_three_digits(value)} ms"


def readable_ratio(after: float, before: float) -> str:
    """Return ``after`` as a percentage of ``before``."""
    return f"{100 * after / before:.1f} %" if before else "-"


def _three_digits(value: float) -> str:
    size = abs(value)
    if size >= 99.95 or value == 0:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3g}"
