"""Targets as people write them."""

from __future__ import annotations

import pytest

from compressc.errors import GoalError
from compressc.goal import Bound, parse_bound


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [
        ("0.5", 0.5, True),
        (".25", 0.25, True),
        ("50%", 0.5, True),
        ("2G", 2e9, False),
        ("1.5G", 1.5e9, False),
        ("500M", 5e8, False),
        ("500m", 5e8, False),
        ("4MB", 4e6, False),
        ("4 MB", 4e6, False),
        ("4MiB", 4 * 2**20, False),
        ("100k", 1e5, False),
        ("64B", 64, False),
        ("2e9", 2e9, False),
        ("3", 3, False),
    ],
)
def test_amounts_are_read(text: str, value: float, relative: bool) -> None:
    assert parse_bound("--target-size", text, of_bytes=True) == Bound(value, relative)
    if text.lower().endswith("b"):
        with pytest.raises(GoalError, match=r"--target-flops .*: is a size in bytes"):
            parse_bound("--target-flops", text, of_bytes=False)
    else:
        assert parse_bound("--target-flops", text, of_bytes=False) == Bound(value, relative)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "1",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "abc",
        "",
        "0G",
        "-2G",
        "0%",
        "100%",
        "5X",
        "1G2",
        "\u0660.\u0665",
    ],
)
def test_nonsense_is_refused_by_name(text: str) -> None:
    with pytest.raises(GoalError, match="--target-flops"):
        parse_bound("--target-flops", text, of_bytes=False)
