"""IDX files: what is read, and what is said about a bad one."""

from __future__ import annotations

import gzip
import struct

import pytest
import torch

from compressc.datasets.idx import read_idx, read_pair


def idx_bytes(values: torch.Tensor) -> bytes:
    shape = struct.pack(f">{values.dim()}I", *values.shape)
    return bytes((0, 0, 8, values.dim())) + shape + bytes(values.flatten().tolist())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x05", "is no IDX file of unsigned bytes"),
        (b"\x00\x00", "is no IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "is cut short within its header"),
        (
            b"\x00\x00\x08\x01\x00\x00\x00\x04\x05",
            r"holds 1 elements, but its header states \(4,\)",
        ),
    ],
)
def test_a_bad_idx_file_is_named(tmp_path, content, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ValueError, match=f"f {message}"):
        read_idx(tmp_path / "f")


def test_a_damaged_archive_a_missing_file_and_a_mismatch_are_named(tmp_path):
    (tmp_path / "g.gz").write_bytes(gzip.compress(b"some content")[:-9])
    with pytest.raises(ValueError, match=r"g\.gz is damaged"):
        read_idx(tmp_path / "g")
    with pytest.raises(FileNotFoundError, match=r"neither .*h nor h\.gz exists"):
        read_idx(tmp_path / "h")
    (tmp_path / "images").write_bytes(idx_bytes(torch.zeros(4, 2, 2, dtype=torch.uint8)))
    (tmp_path / "labels").write_bytes(idx_bytes(torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="one label for each image"):
        read_pair(tmp_path / "images", tmp_path / "labels")
