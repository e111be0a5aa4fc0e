"""What every test shares: the import path, torch's threads, hypothesis profiles."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from compressc.datasets.synthetic.making import SyntheticSettings
from compressc.datasets.synthetic.matching import Matching

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


@pytest.fixture(autouse=True)
def quick_synthetic_inputs(monkeypatch):
    """Make few synthetic inputs in few steps, wherever the default recipe makes some."""
    quick = functools.partial(
        SyntheticSettings, samples=24, drawn=32, judged=32, matching=Matching(steps=8)
    )
    monkeypatch.setattr("compressc.pipeline.sampling.SyntheticSettings", quick)
