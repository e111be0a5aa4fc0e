"""Arrays in ``.npz`` files, each read when it is asked for, and only if it is what it claims."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from compressc.runtime.budgets import check_bytes
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.plain_text import printable

_SUFFIX = ".npy"
_MAX_HEADER = 10_000
_MAX_AXES = 64
# numpy's reader of a header evaluates a Python literal, which fails in many ways.
_UNREADABLE = (
    ValueError,
    TypeError,
    SyntaxError,
    TokenError,
    EOFError,
    KeyError,
    MemoryError,
    RecursionError,
)
# RuntimeError: encrypted; NotImplementedError, of which it is the base: an unknown compression.
_DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError)


@dataclass(frozen=True)
class _Member:
    entry: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class StoredArrays(Mapping[str, NDArray[Any]]):
    """The arrays of an ``.npz`` by name.

    Nothing is unpickled. Headers are read at once and checked against the sizes of the members; an
    array is read when it is asked for, in the byte order of this machine, with its checksum.

    Args:
        path: the file.

    Raises:
        RuntimeFailure: if the file cannot be read, or is no ``.npz`` of plain arrays; when an array
            is asked for, also if it is damaged or takes more memory than the budget.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {
                    _name(entry): self._read_header(archive, entry) for entry in archive.infolist()
                }
        except FileNotFoundError as error:
            raise RuntimeFailure(f"{path}: no such file; check the path") from error
        except _DAMAGED as error:
            raise self._refused(_reason(error)) from error

    def __getitem__(self, name: str) -> NDArray[Any]:
        member = self._members[name]
        if not member.bytes:
            return np.zeros(member.shape, member.dtype)
        check_bytes(f"{self._path}: array '{name}'", member.bytes)
        try:
            with zipfile.ZipFile(self._path) as archive:
                content = archive.read(member.entry)
        except _DAMAGED as error:
            raise self._refused(f"{name}: {_reason(error)}") from error
        flat = np.frombuffer(bytearray(content), member.dtype, offset=member.start)
        array = flat.reshape(member.shape, order="F" if member.fortran else "C")
        return array.astype(member.dtype.newbyteorder("="), copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def _read_header(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Member:
        if not entry.filename.endswith(_SUFFIX):
            raise ValueError(f"it holds '{entry.filename[:80]}', which is no array")
        with archive.open(entry) as stream:
            # A header is short, whatever it says of its own length.
            head = io.BytesIO(stream.read(_MAX_HEADER))
        try:
            shape, fortran, dtype = _parse(head)
        except _UNREADABLE:
            # Behind it may be a MemoryError, which is how Python's parser says "nested too deep".
            raise ValueError(f"{_name(entry)} has a damaged header") from None
        if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
            raise ValueError(f"{_name(entry)} holds objects or records, not plain numbers")
        sizes_fit = len(shape) <= _MAX_AXES and all(type(n) is int and n >= 0 for n in shape)
        member = _Member(entry, shape, dtype, fortran, head.tell())
        if not sizes_fit or member.bytes != entry.file_size - member.start:
            raise ValueError(f"{_name(entry)} does not have the size that its header states")
        return member

    def _refused(self, reason: str) -> RuntimeFailure:
        return RuntimeFailure(
            f"{self._path}: is no .npz of plain arrays ({reason}); write it again with numpy.savez"
        )


def _parse(head: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(head)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"format {version}")
    shape, fortran, dtype = readers[version](head, max_header_size=_MAX_HEADER)
    return tuple(shape), bool(fortran), np.dtype(dtype)


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(_SUFFIX)


def _reason(error: Exception) -> str:
    return " ".join(printable(str(error)).split())[:100] or type(error).__name__
