"""Batches are cut into parts of nearly equal size."""

from __future__ import annotations

import pytest
import torch

from compressc.passes.training.cut_batches import count_parts, cut_batch


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [
        (128, 64, [64, 64]),
        (65, 64, [32, 33]),
        (113, 64, [56, 57]),
        (64, 64, [64]),
        (5, 0, [5]),
        (7, 2, [1, 2, 2, 2]),
    ],
)
def test_every_sample_is_in_one_part(count: int, most: int, sizes: list[int]) -> None:
    x, scale, y = torch.arange(count), torch.ones(()), torch.arange(count) * 2
    parts = list(cut_batch(((x, scale), {"y": y}), most))
    assert sorted(len(inputs[0]) for inputs, _ in parts) == sorted(sizes)
    assert count_parts(count, most) == len(sizes)
    assert torch.equal(torch.cat([inputs[0] for inputs, _ in parts]), x)
    assert torch.equal(torch.cat([targets["y"] for _, targets in parts]), y)
    assert all(inputs[1] is scale for inputs, _ in parts)
