"""The Task: what a model is for. Only what the driver uses today."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class Task(Protocol):
    """Held-out data and a metric on it.

    Attributes:
        metric_name: what :meth:`evaluate` returns, such as "accuracy [%]".
    """

    metric_name: str

    def evaluate(self, module: nn.Module) -> float:
        """Return the metric of ``module`` on data that no pass has seen; higher is better."""
        ...
