"""Precision: whether bfloat16 autocast is used, and where it pays."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from compressc.runtime.machine import describe_machine

_FAST_ON_CPU = frozenset({"amx_bf16", "avx512_bf16"})


@dataclass(frozen=True)
class Precision:
    """A device type and whether operations there run in bfloat16.

    accelerate knows one precision per process, which two passes of a recipe need not share, so
    autocast is torch's own.
    """

    device_type: str
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which operations that bear it run in bfloat16."""
        return torch.autocast(self.device_type, torch.bfloat16, enabled=self.bfloat16)

    def __str__(self) -> str:
        return "bfloat16" if self.bfloat16 else "float32"


def choose_precision(setting: str, device: torch.device) -> Precision:
    """Return the precision for "float32", "bfloat16" or "auto": bfloat16 where it is faster."""
    if setting == "auto":
        return Precision(device.type, _is_fast(device))
    return Precision(device.type, setting == "bfloat16")


def _is_fast(device: torch.device) -> bool:
    if device.type == "cpu":
        return bool(_FAST_ON_CPU & set(describe_machine().simd))
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return False
