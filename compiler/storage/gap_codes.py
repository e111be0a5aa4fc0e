"""Gap codes: where the nonzeros of a tensor are, in nearly as few bits as theory allows.

The gaps between nonzeros are written as numbers of ``width`` bits. The largest number is an
escape: "skip that many zeros and read on". A width of 1 would be a bitmask; wider codes suit
sparser tensors (4 bits near 90 % zeros, 8 near 99 %). Numbers are packed as bit planes, which
``compressc.storage.onnx_unpacking`` takes apart with standard ONNX operators.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compressc.array_types import IntArray

# The decoder adds up the planes of two bytes.
WIDTHS = range(1, 17)


def gaps_between(positions: IntArray) -> IntArray:
    """Return the number of zeros before each nonzero.

    Shape: (nonzeros,) to (nonzeros,).
    """
    return np.diff(positions, prepend=-1) - 1


def count_codes(gaps: IntArray, width: int) -> int:
    """Return how many codes, escapes included, the gaps need."""
    return len(gaps) + int((gaps // _escape(width)).sum())


def best_width(gaps: IntArray) -> int:
    """Return the code width in bits that stores the gaps in the fewest bytes."""
    return min(WIDTHS, key=lambda width: plane_bytes(count_codes(gaps, width), width))


def encode_gaps(gaps: IntArray, width: int) -> IntArray:
    """Return the codes of the gaps, escapes included.

    Shape: (nonzeros,) to (codes,).
    """
    escape = _escape(width)
    codes = np.full(count_codes(gaps, width), escape, dtype=np.int64)
    codes[np.cumsum(gaps // escape + 1) - 1] = gaps % escape
    return codes


def decode_gaps(codes: IntArray, width: int) -> IntArray:
    """Return the positions of the nonzeros; the inverse of :func:`encode_gaps`."""
    is_value = codes < _escape(width)
    ends: IntArray = np.cumsum(codes + is_value)
    return (ends - 1)[is_value]


def plane_bytes(count: int, width: int) -> int:
    """Return the bytes that ``count`` numbers of ``width`` bits take as bit planes."""
    return -(-count // 8) * width


def pack_planes(numbers: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Return the numbers as ``width`` bit planes one after the other, lowest bit first.

    Shape: (numbers,) to (bytes,).
    """
    return np.concatenate(
        [np.packbits((numbers >> bit).astype(np.uint8) & 1) for bit in range(width)]
    )


def unpack_planes(packed: NDArray[np.uint8], width: int, count: int) -> IntArray:
    """Return the numbers; the inverse of :func:`pack_planes`."""
    planes = np.unpackbits(packed.reshape(width, -1), axis=1, count=count)
    numbers: IntArray = (1 << np.arange(width, dtype=np.int64)) @ planes
    return numbers


def _escape(width: int) -> int:
    return (1 << width) - 1
