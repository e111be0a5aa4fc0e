"""Hyper-parameters of training, shared by the passes that train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.errors import GoalError

_LEARNING_RATES = {"sgd": 0.02, "adamw": 1e-3}
_WEIGHT_DECAYS = {"sgd": 5e-4, "adamw": 1e-2}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        optimizer: "sgd" or "adamw".
        learning_rate: the highest one; none for 0.02 with sgd, 0.001 with adamw.
        schedule: "one-cycle" (up, then down to almost zero), "cosine" (down to zero), or "plateau"
            (down to a third after two epochs whose training loss is no better; no warm-up).
        weight_decay: of weights of two or more axes; none for 0.0005 with sgd, 0.01 with adamw.
        momentum: of sgd (Nesterov); 0 for none.
        warmup: share of all steps in which the learning rate rises.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 where it is faster.
        channels_last: memory layout that convolutions run fastest on.
        clip_norm: gradients are scaled down to this norm; 0 for never.
        ema: decay of the moving average of weights that is judged and kept; 0 for none.
        patience: stop after so many epochs without a better one; 0 for never.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    epochs: int = 10
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float | None = None
    schedule: Literal["one-cycle", "cosine", "plateau"] = "one-cycle"
    weight_decay: float | None = None
    momentum: float = 0.9
    warmup: float = 0.2
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True
    clip_norm: float = 0.0
    ema: float = 0.0
    patience: int = 0

    def __post_init__(self) -> None:
        known: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("optimizer", ("sgd", "adamw")),
            ("schedule", ("one-cycle", "cosine", "plateau")),
            ("precision", ("auto", "float32", "bfloat16")),
        )
        for field, choices in known:
            if getattr(self, field) not in choices:
                raise GoalError(f"{field} '{getattr(self, field)}': give one of {choices}")
        if self.epochs < 1:
            raise GoalError(f"epochs {self.epochs}: at least 1 is needed")
        if not self.peak_rate > 0:
            raise GoalError(f"learning_rate {self.peak_rate:g}: must be above 0")
        if not 0 <= self.warmup < 1:
            raise GoalError(f"warmup {self.warmup:g}: give a share of the steps from 0 to below 1")
        if not 0 <= self.momentum < 1:
            raise GoalError(f"momentum {self.momentum:g}: give a number from 0 to below 1")
        if not 0 <= self.ema < 1:
            raise GoalError(f"ema {self.ema:g}: give a decay from 0 (off) to below 1, like 0.999")
        for field, value in (
            ("weight_decay", self.decay),
            ("clip_norm", self.clip_norm),
            ("patience", self.patience),
        ):
            if not value >= 0:
                raise GoalError(f"{field} {value:g}: must be 0 or more")

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is None:
            return _LEARNING_RATES[self.optimizer]
        return self.learning_rate

    @property
    def decay(self) -> float:
        """The weight decay."""
        return _WEIGHT_DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay
