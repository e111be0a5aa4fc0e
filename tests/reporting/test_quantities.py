"""Numbers as people read them."""

from __future__ import annotations

import pytest

from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (999, "999"),
        (1000, "1.00 k"),
        (4_089_184_256, "4.09 G"),
        (25_557_032, "25.6 M"),
        (269_722, "270 k"),
        (999_900, "1.00 M"),
    ],
)
def test_counts(value: float, text: str) -> None:
    assert readable_count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (4100, "4.10 kB"), (102e6, "102 MB")]
)
def test_bytes(value: float, text: str) -> None:
    assert readable_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "0.0123 ms"), (4.56, "4.56 ms"), (45.67, "45.7 ms"), (1234, "1234 ms")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert readable_ms(value) == text


def test_ratios() -> None:
    assert readable_ratio(1, 2) == "50.0 %"
    assert readable_ratio(1, 0) == "-"
