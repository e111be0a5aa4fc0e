"""Decompositions are made once per weight, and what is remembered stays what it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressc.factors import low_rank
from compressc.factors.low_rank import decompose_tucker, factor_weight, split_svd
from compressc.factors.memo import FactorMemo, content_digest


@pytest.fixture
def memo(monkeypatch: pytest.MonkeyPatch) -> FactorMemo:
    fresh = FactorMemo(2**20)
    monkeypatch.setattr(low_rank, "_MEMO", fresh)
    return fresh


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Return a list that grows by one whenever the function of torch.linalg is called."""
    calls: list[str] = []
    true = getattr(torch.linalg, name)

    def counted(*arguments, **options):
        calls.append(name)
        return true(*arguments, **options)

    monkeypatch.setattr(torch.linalg, name, counted)
    return calls


def test_sixty_four_rank_steps_take_one_svd(memo, monkeypatch):
    calls = count_calls(monkeypatch, "svd")
    weight = noise(64, 80)
    for rank in range(1, 65):
        split_svd(weight.clone(), rank)
    assert len(calls) == 1
    split_svd(weight + 1e-6, 3)
    assert len(calls) == 2


def test_all_rank_pairs_share_one_hosvd_and_are_refined_once(memo, monkeypatch):
    calls = count_calls(monkeypatch, "eigh")
    weight = noise(8, 8, 3, 3)
    for _ in range(2):
        for r_out in range(1, 9):
            for r_in in range(1, 9):
                decompose_tucker(weight, r_out, r_in, sweeps=2)
    assert len(calls) == 2 + 64 * 4


@pytest.mark.parametrize("ranks", [(3,), (3, 2)])
def test_training_the_factors_does_not_change_what_is_remembered(memo, ranks):
    weight = noise(6, 5, 1, 1) if len(ranks) == 1 else noise(6, 5, 3, 3)
    weight = weight.double()
    first = factor_weight(weight, ranks)
    wanted = first.product().clone()
    for part in (first.expand, first.core, first.reduce):
        if part is not None:
            part.fill_(7.0)
    torch.testing.assert_close(factor_weight(weight, ranks).product(), wanted, rtol=0, atol=0)


def test_the_digest_sees_values_shapes_and_types():
    weight = noise(4, 6)
    digests = {
        content_digest(tensor)
        for tensor in (weight, weight + 1e-6, weight.reshape(6, 4), weight.double(), weight.T)
    }
    assert len(digests) == 5
    assert content_digest(weight.clone()) == content_digest(weight)


def test_the_oldest_leave_when_the_room_is_used_up():
    memo = FactorMemo(3 * 400)
    made: list[int] = []

    def get(key: int) -> Tensor:
        def compute() -> tuple[Tensor, ...]:
            made.append(key)
            return (torch.full((100,), float(key)),)

        return memo.get(key, compute)[0]

    for key in (0, 1, 2, 0, 3, 0, 1):
        assert float(get(key)[0]) == key
    assert made == [0, 1, 2, 3, 1]
