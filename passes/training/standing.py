"""Standing: how far training has come, and the outcome that is kept so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor
from torch.utils import _pytree as pytree

# The network that came in has often been trained on what is search-validation now (a part of the
# training images, where the data have no such split), and training on the rest of them cannot keep
# that up. A ResNet-56 whose test accuracy rose from 87.8 to 89.7 fell from 95.9 to 94.0 there.
_LEAD = 0.05


@dataclass(frozen=True, eq=False)
class Standing:
    """What is known after an epoch.

    Attributes:
        epoch: how many are over; 0 before training.
        first_metric: of what came in, on search-validation; NaN where it was not judged.
        metric: of the last epoch.
        kept: the outcome that training would end with.
        kept_metric, kept_epoch: its metric, and after how many epochs it was taken.
        seconds: of training, without judging.
        samples: trained on so far, repetitions counted.
        diverged: what went wrong, empty while all is well.
        ended: whether the user ended the training before its last epoch.
        remark: on state of an earlier run that could not be used; empty where there is none.
    """

    epoch: int
    first_metric: float
    metric: float
    kept: Mapping[str, Any]
    kept_metric: float
    kept_epoch: int = 0
    seconds: float = 0.0
    samples: int = 0
    diverged: str = ""
    ended: bool = False
    remark: str = ""

    @classmethod
    def before(cls, metric: float, outcome: Mapping[str, Any]) -> Self:
        """Return the standing before training; the outcome is copied."""
        return cls(0, metric, metric, _copied(outcome), metric)

    def after(self, metric: float, seconds: float, samples: int) -> Self:
        """Return the standing after one more epoch, with what was kept before it."""
        return replace(
            self,
            epoch=self.epoch + 1,
            metric=metric,
            seconds=self.seconds + seconds,
            samples=self.samples + samples,
        )

    def with_outcome(self, outcome: Mapping[str, Any]) -> Self:
        """Return the standing with the outcome of the last epoch kept; it is copied."""
        kept = _copied(outcome)
        return replace(self, kept=kept, kept_metric=self.metric, kept_epoch=self.epoch)

    @property
    def is_best(self) -> bool:
        """Whether the last epoch is at least as good as what is kept.

        What came in, epoch 0, stays only as long as training has lost over 5 % of its metric.
        """
        bar = self.kept_metric
        if self.kept_epoch == 0:
            bar -= _LEAD * abs(bar)
        return not (math.isnan(self.metric) or self.metric < bar)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def images_per_second(self) -> float:
        """Training speed."""
        return self.samples / self.seconds if self.seconds else 0.0


def _copied(outcome: Mapping[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = pytree.tree_map_only(Tensor, lambda x: x.detach().clone(), dict(outcome))
    return copy
