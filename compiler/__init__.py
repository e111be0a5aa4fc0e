"""compressc: a model-compression compiler with deployable sparse output."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressc.coupling.graph import couple
    from compressc.errors import CompresscError
    from compressc.frontend.handover import load
    from compressc.frontend.tracing import capture
    from compressc.goal import Goal
    from compressc.lowering.lowered import lower
    from compressc.masking import masked
    from compressc.pipeline.driver import Result, compress
    from compressc.plan import Plan
    from compressc.program import Constraints, Program
    from compressc.settings import Int8, Settings
    from compressc.sweeping.driver import sweep

# Names are resolved on first use so that `import compressc` stays light: the runtime runs on
# devices without torch, and `compressc --help` must answer at once.
_HOMES = {
    "CompresscError": "compressc.errors",
    "Constraints": "compressc.program",
    "Goal": "compressc.goal",
    "Int8": "compressc.settings",
    "Plan": "compressc.plan",
    "Program": "compressc.program",
    "Result": "compressc.pipeline.driver",
    "Settings": "compressc.settings",
    "capture": "compressc.frontend.tracing",
    "compress": "compressc.pipeline.driver",
    "couple": "compressc.coupling.graph",
    "load": "compressc.frontend.handover",
    "lower": "compressc.lowering.lowered",
    "masked": "compressc.masking",
    "sweep": "compressc.sweeping.driver",
}

__all__ = [
    "CompresscError",
    "Constraints",
    "Goal",
    "Int8",
    "Plan",
    "Program",
    "Result",
    "Settings",
    "capture",
    "compress",
    "couple",
    "load",
    "lower",
    "masked",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'compressc' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
