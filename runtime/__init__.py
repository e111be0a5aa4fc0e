"""What runs on a device: open, time and cost ONNX files with numpy, onnx and onnxruntime only.

Nothing in here imports torch or the rest of compressc. Names are resolved on first use, so
``import compressc.runtime`` costs nothing. The timing module keeps its own name,
``compressc.runtime.bench.bench(paths)``, because a function named like its module would hide it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressc.runtime import bench
    from compressc.runtime.bench_result import BenchResult, bench_table
    from compressc.runtime.errors import RuntimeFailure
    from compressc.runtime.inputs import make_inputs
    from compressc.runtime.machine import Machine, channel_multiple, describe_machine
    from compressc.runtime.measurement import Measurement
    from compressc.runtime.onnx_cost import OnnxCost, count_cost
    from compressc.runtime.session import open_session

_HOMES = {
    "BenchResult": "bench_result",
    "Machine": "machine",
    "Measurement": "measurement",
    "OnnxCost": "onnx_cost",
    "RuntimeFailure": "errors",
    "bench_table": "bench_result",
    "channel_multiple": "machine",
    "count_cost": "onnx_cost",
    "describe_machine": "machine",
    "make_inputs": "inputs",
    "open_session": "session",
}

__all__ = [
    "BenchResult",
    "Machine",
    "Measurement",
    "OnnxCost",
    "RuntimeFailure",
    "bench",
    "bench_table",
    "channel_multiple",
    "count_cost",
    "describe_machine",
    "make_inputs",
    "open_session",
]


def __getattr__(name: str) -> Any:
    if name == "bench":
        return importlib.import_module("compressc.runtime.bench")
    if name in _HOMES:
        return getattr(importlib.import_module(f"compressc.runtime.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'compressc.runtime' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
