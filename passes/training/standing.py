"""Standing: how far training has come, and the best weights so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor

# The network that came in has often been trained on what is search-validation now (a part of the
# training images, where the data have no such split), and training on the rest of them cannot keep
# that up. A ResNet-56 whose test accuracy rose from 87.8 to 89.7 fell from 95.9 to 94.0 there.
_LEAD = 0.05


@dataclass(frozen=True, eq=False)
class Standing:
    """What is known after an epoch.

    Attributes:
        epoch: how many are over; 0 before training.
        first_metric: of the weights that came in, on search-validation.
        best_metric, best_epoch, best: the best weights and when they were found, the latest of
            equals; epoch 0 is the weights that came in, which are best only as long as training
            has lost over 5 % of their metric.
        seconds: of training, without judging.
        samples: trained on so far, repetitions counted.
        diverged: what went wrong, empty while all is well.
    """

    epoch: int
    first_metric: float
    best_metric: float
    best_epoch: int
    best: Mapping[str, Tensor]
    seconds: float = 0.0
    samples: int = 0
    diverged: str = ""

    @classmethod
    def before(cls, metric: float, weights: Mapping[str, Tensor]) -> Self:
        """Return the standing before training; the weights are copied."""
        return cls(0, metric, metric, 0, _copied(weights))

    def after(
        self, metric: float, weights: Mapping[str, Tensor], seconds: float, samples: int
    ) -> Self:
        """Return the standing after one more epoch; the weights are copied if they are best."""
        found = replace(
            self,
            epoch=self.epoch + 1,
            seconds=self.seconds + seconds,
            samples=self.samples + samples,
        )
        bar = self.best_metric
        if self.best_epoch == 0:
            bar -= _LEAD * abs(bar)
        if math.isnan(metric) or metric < bar:
            return found
        return replace(found, best_metric=metric, best_epoch=found.epoch, best=_copied(weights))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def images_per_second(self) -> float:
        """Training speed."""
        return self.samples / self.seconds if self.seconds else 0.0


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
