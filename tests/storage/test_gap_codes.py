"""Gap codes, bit planes and float parts: lossless, and as small as promised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressc.storage.float_parts import split_floats
from compressc.storage.gap_codes import (
    WIDTHS,
    best_width,
    count_codes,
    decode_gaps,
    encode_gaps,
    gaps_between,
    pack_planes,
    plane_bytes,
    unpack_planes,
)

positions_sets = st.sets(st.integers(0, 200_000), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(positions_sets, st.sampled_from(list(WIDTHS)))
def test_positions_survive(positions, width):
    array = np.array(sorted(positions), dtype=np.int64)
    gaps = gaps_between(array)
    codes = encode_gaps(gaps, width)
    packed = pack_planes(codes, width)
    assert len(codes) == count_codes(gaps, width)
    assert len(packed) == plane_bytes(len(codes), width)
    read = unpack_planes(packed, width, len(codes))
    assert np.array_equal(decode_gaps(read, width), array)


@pytest.mark.parametrize(("density", "width"), [(0.5, 1), (0.1, 4), (0.05, 5), (0.01, 8)])
def test_codes_are_within_a_tenth_of_the_entropy(density, width):
    rng = np.random.default_rng(0)
    positions = np.flatnonzero(rng.random(200_000) < density)
    gaps = gaps_between(positions)
    assert abs(best_width(gaps) - width) <= 1
    bits = 8 * plane_bytes(count_codes(gaps, best_width(gaps)), best_width(gaps))
    entropy = -density * np.log2(density) - (1 - density) * np.log2(1 - density)
    assert bits < 1.1 * entropy * 200_000


def test_denormals_and_specials_are_not_split():
    for special in (1e-42, 1e-38, np.inf, np.nan):
        assert split_floats(np.array([1.0, special], np.float32)) is None


def test_parts_hold_sign_fraction_and_exponent():
    values = np.array([1.5, -0.75, -0.0, 3.0], np.float32)
    parts = split_floats(values)
    high, middle, low = (row.astype(np.float64) for row in parts.fractions)
    number = high * 65536 + middle * 256 + low
    signed = np.where(number < 2**23, number + 2**23, -number)
    scale = parts.scales[unpack_planes(parts.exponents, parts.width, len(values))]
    joined = (signed * scale).astype(np.float32)
    assert joined.tobytes() == values.tobytes()
