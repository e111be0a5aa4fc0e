"""What torch keeps of every graph for as long as a process lives, and a bound on it.

A search builds thousands of graph modules, and a service captures model after model. torch.fx
keeps the generated source of each (for tracebacks), and fake tensors keep a record of every
operator that was traced with symbolic sizes, which are new in every capture. Neither is ever
dropped by torch.
"""

from __future__ import annotations

import linecache
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import graph_module

# A traceback shows the source of the newest modules only.
MOST_SOURCES = 1000
# Records make the next capture a little faster; a small network leaves 50, one of 500 layers 1,000.
MOST_RECORDS = 5_000


def trim_torch_caches() -> None:
    """Drop the oldest sources and, where there are too many, all records of traced operators."""
    loader: Any = getattr(graph_module, "_loader", None)
    sources: dict[str, str] = getattr(loader, "eval_cache", {})
    for name in list(sources)[: max(0, len(sources) - MOST_SOURCES)]:
        del sources[name]
        linecache.cache.pop(name, None)
    if len(FakeTensorMode.cache) > MOST_RECORDS:
        FakeTensorMode.cache_clear()
