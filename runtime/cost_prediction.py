"""Latency of a network from a cost table: the sum of its kernels."""

from __future__ import annotations

from dataclasses import dataclass

from compressc.runtime.cost_table import CostTable
from compressc.runtime.kernel_list import KernelList


@dataclass(frozen=True)
class Prediction:
    """What a table says about a network.

    Attributes:
        latency_ms: of one call.
        unknown_ms: the part of it that comes from kernels the table lacks: what they took in the
            network itself when it was listed.
    """

    latency_ms: float
    unknown_ms: float


def predict(table: CostTable, kernels: KernelList) -> Prediction:
    """Return the latency of a network whose kernels are listed."""
    total, unknown = table.call_ms, 0.0
    for kernel in kernels.kernels:
        kernel_ms = None
        if kernel.kind is not None:
            kernel_ms = table.latency_ms(kernel.kind, kernel.widths)
        if kernel_ms is None:
            unknown += kernel.own_ms
        else:
            total += kernel_ms
    return Prediction(total + unknown, unknown)
