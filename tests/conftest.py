"""What every test shares: the import path, torch's threads, hypothesis profiles."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings

# Tests share strategies and oracles: ``from tests.strategies import networks``.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

torch.set_num_threads(1)

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("everyday", max_examples=8, **_COMMON)
settings.register_profile("ci", max_examples=150, **_COMMON)
settings.register_profile("search", max_examples=500, **{**_COMMON, "derandomize": False})
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))
