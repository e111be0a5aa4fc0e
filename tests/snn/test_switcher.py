"""The switcher reads matrices of any size, whole or in row blocks, to the same factors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressc.errors import PlanError
from compressc.passes.snn.row_blocks import count_block_rows, read_in_blocks
from compressc.passes.snn.settings import Mode
from compressc.passes.snn.switcher import Switcher

MODES: list[Mode] = ["connection", "neuron"]
SIZES = [(10, 7), (1, 1), (1, 9), (9, 1), (2, 3), (100, 10), (37, 130)]


def build(columns: int, mode: Mode, depth: int = 2, channels: int = 4) -> Switcher:
    torch.manual_seed(0)
    return Switcher(columns, mode, channels, depth).double()


def drawn(rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_any_size_gets_a_factor_for_each_entry_or_row(
    mode: Mode, depth: int, rows: int, columns: int
) -> None:
    factors = build(columns, mode, depth)(drawn(rows, columns))
    assert factors.shape == (rows, columns if mode == "connection" else 1)
    assert (factors >= 0).all()
    assert torch.isfinite(factors).all()


def test_factors_begin_near_one() -> None:
    for mode in MODES:
        factors = build(130, mode)(drawn(400, 130))
        assert 0.5 < factors.mean() < 2
        assert 0.01 < factors.std() < 0.5


def test_the_decoder_widens_with_its_channels_unchanged() -> None:
    switcher = build(33, "connection", depth=3, channels=5)
    convolutions = [each for each in switcher.modules() if isinstance(each, nn.Conv2d)]
    assert {each.out_channels for each in convolutions} == {5, 1}
    assert [each.out_channels for each in convolutions].count(1) == 1
    # Rows of the encoder's maps: one high, and in the neuron mode as wide as the matrix is there.
    assert {each.kernel_size for each in switcher.rows} == {(1, 3)}
    neuron = build(33, "neuron", depth=3)
    assert [each.kernel_size for each in neuron.rows] == [(1, 33), (1, 17), (1, 9), (1, 5)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("block_rows", [1, 5, 16, 39])
def test_row_blocks_give_the_same_factors_and_gradients(
    mode: Mode, depth: int, block_rows: int
) -> None:
    matrix = drawn(40, 13)
    whole, blocks = build(13, mode, depth), build(13, mode, depth)
    weight = drawn(40, 13 if mode == "connection" else 1)
    first, second = whole(matrix), read_in_blocks(blocks, matrix, block_rows)
    torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-13)
    (first * weight).sum().backward()
    (second * weight).sum().backward()
    for one, other in zip(whole.parameters(), blocks.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_blocks_without_the_rows_around_them_would_be_wrong(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    switcher, matrix = build(13, mode), drawn(40, 13)
    whole = switcher(matrix)
    monkeypatch.setattr(Switcher, "reach", property(lambda _: 3))
    assert not torch.allclose(read_in_blocks(switcher, matrix, 10), whole)


def saved_megabytes(switcher: Switcher, matrix: Tensor, block_rows: int) -> float:
    """Return what the largest block keeps for its gradient."""
    sizes = [0.0]

    def note(tensor: Tensor) -> Tensor:
        sizes[-1] += tensor.numel() * tensor.element_size() / 1e6
        return tensor

    rows = min(len(matrix), block_rows + 2 * switcher.reach)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        switcher(matrix[:rows])
    return max(sizes)


@pytest.mark.parametrize("mode", MODES)
def test_the_bound_on_memory_holds(mode: Mode) -> None:
    switcher, matrix = build(300, mode).float(), drawn(784, 300).float()
    for bound in (2.0, 8.0, 1000.0):
        rows = count_block_rows(784, 300, switcher, bound, "fc1")
        assert (rows == 784) == (bound == 1000.0)
        # Gradients of the maps are as large again.
        assert 2 * saved_megabytes(switcher, matrix, rows) < bound


def test_a_matrix_whose_rows_do_not_fit_is_refused_in_one_line() -> None:
    switcher = build(25088, "connection").float()
    assert count_block_rows(4096, 25088, switcher, 256.0, "fc1") < 4096
    with pytest.raises(PlanError, match=r"fc1 is a matrix of 4096 x 25088.*--memory-mb is 64"):
        count_block_rows(4096, 25088, switcher, 64.0, "fc1")


@pytest.mark.slow
def test_the_largest_layer_of_vgg_is_read() -> None:
    switcher = build(4096, "neuron").float()
    matrix = torch.randn(25088, 4096)
    rows = count_block_rows(25088, 4096, switcher, 256.0, "fc1")
    with torch.no_grad():
        assert read_in_blocks(switcher, matrix, rows).shape == (25088, 1)
