"""Gap codes: where the nonzeros of a tensor are, in nearly as few bits as theory allows.

The gaps between nonzeros are written as numbers of ``width`` bits. The largest number is an
escape: "skip that many zeros and read on". A width of 1 is a bitmask; wider codes suit sparser
tensors (4 bits near 90 % zeros, 8 near 99 %). ``compressc.onnx_unpacking`` decodes them with
standard ONNX operators.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The decoder reads a window of three bytes: 16 bits at any of eight offsets.
WIDTHS = range(1, 17)

IntArray = NDArray[np.int64]


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
    return min(WIDTHS, key=lambda width: packed_bytes(count_codes(gaps, width), width))


def packed_bytes(codes: int, width: int) -> int:
    """Return the bytes of so many codes; eight codes fill ``width`` bytes exactly."""
    return -(-codes // 8) * width


def pack(gaps: IntArray, width: int) -> NDArray[np.uint8]:
    """Return the gaps as packed codes, most significant bit first.

    Shape: (nonzeros,) to (bytes,).
    """
    escape = _escape(width)
    codes = count_codes(gaps, width)
    padded = np.full(-(-codes // 8) * 8, escape, dtype=np.int64)
    padded[np.cumsum(gaps // escape + 1) - 1] = gaps % escape
    shifts = np.arange(width - 1, -1, -1)
    return np.packbits((padded[:, None] >> shifts & 1).astype(np.uint8))


def unpack(packed: NDArray[np.uint8], width: int, codes: int) -> IntArray:
    """Return the positions of the nonzeros; the inverse of :func:`pack`."""
    bits = np.unpackbits(packed, count=codes * width).reshape(codes, width)
    numbers = bits @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
    is_value = numbers < _escape(width)
    ends = np.cumsum(numbers + is_value)
    return (ends - 1)[is_value]


def _escape(width: int) -> int:
    return (1 << width) - 1
