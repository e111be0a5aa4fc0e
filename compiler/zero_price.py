"""The price of a zero: what a weight that is zero still costs where the network runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ZeroPrice:
    """What a zero in a weight costs, beside what any other number in it costs.

    Attributes:
        macs, params: shares of a multiplication and of a parameter, from 0 to 1.
        mask_bits: that every weight of a tensor takes to say where its zeros are, which then take
            nothing themselves; None where zeros are stored like any other number.
    """

    macs: float
    params: float
    mask_bits: float | None


# Dense kernels multiply by zeros as by anything else: what stock ONNX Runtime does.
DENSE = ZeroPrice(macs=1.0, params=1.0, mask_bits=None)
# Sparse kernels and compact storage: no work, no parameter, one bit a weight that says where
# zeros are. This is how papers count, whatever runs the network.
SPARSE = ZeroPrice(macs=0.0, params=0.0, mask_bits=1.0)
