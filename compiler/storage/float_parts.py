"""Float parts: 32-bit floats as a sign with 23 fraction bits, and a short code of the exponent.

Trained weights use few of the 254 exponents, and pruned ones fewer still, so 2 to 4 bits name an
exponent where the format spends 8. The split loses nothing: a float is put together again as an
integer below 2**24 times a power of two, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressc.storage.gap_codes import pack_planes

# Scales of smaller exponents would be denormal, which a runtime may flush to zero; 255 is
# infinity and NaN.
_MIN_EXPONENT = 25
_MAX_EXPONENT = 254
_BIAS_AND_FRACTION = 150


@dataclass(frozen=True, eq=False)
class FloatParts:
    """Floats taken apart.

    Attributes:
        fractions: sign and fraction, high, middle and low byte, shape (3, count).
        exponents: index into ``scales`` of each float as bit planes, shape (bytes,).
        scales: power of two of each exponent in use, 0 for a zero, shape (up to 256,).
        width: bits per exponent index.
    """

    fractions: NDArray[np.uint8]
    exponents: NDArray[np.uint8]
    scales: NDArray[np.float32]
    width: int


def split_floats(values: NDArray[np.float32]) -> FloatParts | None:
    """Return the parts of the floats, or None where one is denormal, tiny, infinite or NaN.

    Shape: (count,).
    """
    bits = values.view(np.uint32)
    # Zeros of both signs share exponent 0; their scale makes them zero again, with their sign.
    exponents = (bits >> np.uint32(23)).astype(np.uint8)
    if (values[exponents == 0] != 0).any():
        return None
    used = np.flatnonzero(np.bincount(exponents, minlength=256))
    nonzero = used[used > 0]
    if nonzero.size and (nonzero[0] < _MIN_EXPONENT or nonzero[-1] > _MAX_EXPONENT):
        return None
    width = max(1, int(len(used) - 1).bit_length())
    codes = np.zeros(256, dtype=np.uint8)
    codes[used] = np.arange(len(used))
    scales = np.where(used > 0, np.ldexp(1.0, used - _BIAS_AND_FRACTION), 0.0)
    signed = bits & np.uint32(0x7FFFFF) | bits >> np.uint32(31) << np.uint32(23)
    fractions = np.stack([(signed >> np.uint32(shift)).astype(np.uint8) for shift in (16, 8, 0)])
    return FloatParts(
        fractions=fractions,
        exponents=pack_planes(codes[exponents], width),
        scales=scales.astype(np.float32),
        width=width,
    )
