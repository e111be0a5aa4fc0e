"""Calibration samples: what is read, what is held back, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import DataError
from compressc.program import Program
from compressc.settings import Int8
from compressc.tasks.calibration_samples import draw_samples


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a.sum((1, 2, 3)) + b.sum(1)


@pytest.fixture(scope="module")
def program() -> Program:
    return compressc.capture(nn.Conv2d(3, 8, 3), (torch.randn(2, 3, 8, 8),))


def write(path: Path, **arrays: np.ndarray) -> Int8:
    np.savez(path, **arrays)
    return Int8(samples=path, count=100)


def images(count: int) -> np.ndarray:
    values = np.arange(count, dtype=np.float32)[:, None, None, None]
    return np.broadcast_to(values, (count, 3, 8, 8)).copy()


def seen(batches: object) -> set[float]:
    return {float(x) for batch in batches for array in batch.values() for x in array[:, 0, 0, 0]}  # type: ignore[attr-defined]


def test_a_fifth_is_held_back_to_judge(program: Program, tmp_path: Path) -> None:
    samples = draw_samples(program, write(tmp_path / "s.npz", anything=images(50)), None, 0)
    assert samples.held_back
    assert samples.count == 40
    assert len(seen(samples.judging)) == 10
    assert not seen(samples.calibration) & seen(samples.judging)
    assert max(seen(samples.calibration)) > 40  # not just the first ones


def test_few_samples_serve_both(program: Program, tmp_path: Path) -> None:
    samples = draw_samples(program, write(tmp_path / "s.npz", x=images(3)), None, 0)
    assert not samples.held_back
    assert seen(samples.calibration) == seen(samples.judging) == {0.0, 1.0, 2.0}


def test_the_form_of_verify_is_read(program: Program, tmp_path: Path) -> None:
    name = program.input_names[0]
    settings = write(tmp_path / "s.npz", **{f"input:{name}": images(4), "output:y": np.zeros(3)})
    assert draw_samples(program, settings, None, 0).count == 4


def test_wider_floats_are_narrowed(program: Program, tmp_path: Path) -> None:
    settings = write(tmp_path / "s.npz", x=images(4).astype(np.float64))
    samples = draw_samples(program, settings, None, 0)
    assert {a.dtype for batch in samples.calibration for a in batch.values()} == {
        np.dtype(np.float32)
    }


def with_nan() -> np.ndarray:
    array = images(4)
    array[1, 0, 0, 0] = np.nan
    return array


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (with_nan(), "not finite"),
        (images(4)[:, :2], "the model reads Nx3x8x8"),
        (images(4)[0], "the model reads Nx3x8x8"),
        (images(0), "holds no sample"),
        (images(4).astype(np.uint8), "is uint8; store what the model reads"),
        (images(4).astype(np.complex64), "is complex64"),
    ],
)
def test_bad_samples_are_one_line(
    program: Program, tmp_path: Path, array: np.ndarray, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        draw_samples(program, write(tmp_path / "s.npz", x=array), None, 0)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"hello"])
def test_damaged_files_are_one_line(program: Program, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is no \.npz of plain arrays"):
        draw_samples(program, Int8(samples=path), None, 0)
    with pytest.raises(DataError, match="no such file"):
        draw_samples(program, Int8(samples=tmp_path / "none.npz"), None, 0)


def test_every_input_needs_its_array(tmp_path: Path) -> None:
    program = compressc.capture(Two(), (torch.randn(2, 3, 8, 8), torch.randn(2, 4)))
    path = tmp_path / "s.npz"
    names = program.input_names
    np.savez(path, **{names[0]: images(4)})
    with pytest.raises(DataError, match=f"lacks {names[1]}"):
        draw_samples(program, Int8(samples=path), None, 0)
    np.savez(path, **{names[0]: images(4), names[1]: np.zeros((3, 4), np.float32)})
    with pytest.raises(DataError, match="3 samples, the first input 4"):
        draw_samples(program, Int8(samples=path), None, 0)


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    fixed = compressc.capture(nn.Conv2d(3, 8, 3), (torch.randn(2, 3, 8, 8),))
    fixed = replace(fixed, dynamic_axes=({},))
    samples = draw_samples(fixed, write(tmp_path / "s.npz", x=images(5)), None, 0)
    assert [len(a) for b in samples.calibration for a in b.values()] == [2, 2]
    with pytest.raises(DataError, match="reads 2 at once"):
        draw_samples(fixed, write(tmp_path / "t.npz", x=images(1)), None, 0)


class Empty:
    def calibration_batches(self, samples: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
        return iter(())


class Foreign:
    def calibration_batches(self, samples: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
        yield torch.zeros(4, 3, 8, 8), torch.zeros(4)


def test_tasks_without_usable_samples_are_refused(program: Program) -> None:
    with pytest.raises(DataError, match="no calibration samples"):
        draw_samples(program, Int8(), Empty(), 0)
    with pytest.raises(DataError, match="2 input"):
        draw_samples(program, Int8(), Foreign(), 0)
