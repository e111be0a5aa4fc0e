"""Arrays in .npz files: read lazily, and refused in one line where they are not what they claim."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.stored_arrays import StoredArrays


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def with_header(text: str, content: bytes = b"") -> bytes:
    header = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.float64(3.5),
        np.zeros((0, 4), np.int64),
        np.array(["a", "bcd"]),
        np.array([True, False]),
        np.arange(5, dtype=">i4"),
        np.arange(5, dtype=">f8"),
    ],
)
def test_what_is_stored_comes_back_in_the_byte_order_of_this_machine(tmp_path, array):
    np.savez_compressed(tmp_path / "a.npz", x=array)
    (name,) = StoredArrays(tmp_path / "a.npz")
    stored = StoredArrays(tmp_path / "a.npz")[name]
    assert name == "x"
    assert np.array_equal(stored, array)
    assert stored.shape == np.shape(array)
    assert stored.dtype == np.asarray(array).dtype.newbyteorder("=")
    assert stored.dtype.isnative


def test_an_array_that_nobody_asks_for_is_not_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", small=np.ones(3), large=np.zeros(10**6))
    monkeypatch.setenv("COMPRESSC_MEMORY_GB", "0.001")
    arrays = StoredArrays(tmp_path / "a.npz")
    assert arrays["small"].sum() == 3
    with pytest.raises(RuntimeFailure, match=r"array 'large' would take 0.008 GB.*MEMORY_GB"):
        arrays["large"]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "much"])
def test_a_budget_that_is_no_positive_number_is_refused(tmp_path, monkeypatch, text):
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    monkeypatch.setenv("COMPRESSC_MEMORY_GB", text)
    with pytest.raises(RuntimeFailure, match=f"COMPRESSC_MEMORY_GB={text}: give a number"):
        StoredArrays(tmp_path / "a.npz")["x"]


HEADERS = {
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "too large": "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 8)}",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}",
    "no number": "{'descr': '<f4', 'fortran_order': False, 'shape': ('a',)}",
    "truth": "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
    "many axes": f"{{'descr': '<f4', 'fortran_order': False, 'shape': {(1,) * 255}}}",
    "unknown type": "{'descr': 'zz', 'fortran_order': False, 'shape': (1,)}",
    "call": "{'descr': print('x'), 'fortran_order': False, 'shape': (1,)}",
    "nested": "(" * 3000 + ")" * 3000,
    "cut": "{'descr': '<f4', 'fortran",
    "empty": "",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_does_not_fit_is_refused_in_one_line(tmp_path, kind, capsys):
    path = write(tmp_path / "a.npz", x=with_header(HEADERS[kind], b"\0" * 4))
    with pytest.raises(RuntimeFailure, match=r"is no \.npz of plain arrays \(x ") as caught:
        StoredArrays(path)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_other_contents_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a\x1b[31m.txt", "hello")
    for name in ("a.npy", "text", "empty", "zip"):
        with pytest.raises(RuntimeFailure, match=r"is no \.npz of plain arrays") as caught:
            StoredArrays(tmp_path / name)
        assert str(caught.value).isprintable()
    with pytest.raises(RuntimeFailure, match="no such file"):
        StoredArrays(tmp_path / "none")


@pytest.mark.parametrize(("offset", "value"), [(6, 1), (8, 97)])
def test_an_encrypted_member_and_an_unknown_compression_are_refused(tmp_path, offset, value):
    path = write(tmp_path / "a.npz", x=npy(np.ones(3)))
    content = bytearray(path.read_bytes())
    local, central = content.index(b"PK\3\4"), content.index(b"PK\1\2")
    content[local + offset] = value
    content[central + offset + 2] = value
    path.write_bytes(content)
    with pytest.raises(RuntimeFailure, match=r"is no \.npz of plain arrays"):
        StoredArrays(path)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = write(tmp_path / "a.npz", x=npy(np.ones(3000)))
    content = bytearray(path.read_bytes())
    content[15000] ^= 4
    path.write_bytes(content)
    arrays = StoredArrays(path)
    with pytest.raises(RuntimeFailure, match=r"x: Bad CRC"):
        arrays["x"]
