"""Hyper-parameters of SNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.errors import GoalError
from compressc.passes.training.settings import TrainingSettings

Mode = Literal["connection", "neuron"]
Layers = Literal["fc", "conv", "all"]
Threshold = Literal["weights", "factors"]


@dataclass(frozen=True)
class SnnSettings(TrainingSettings):
    """How switchers and network are trained, and how much is switched off.

    Attributes:
        epochs: passes over the training split; the switchers learn in the first, third and so on,
            the network in the others.
        learning_rate: of both; none for 0.1.
        schedule: as for finetune; each of both follows it over its own epochs.
        momentum: of sgd; 0 for none, as in the paper.
        mode: "connection": a factor for each weight; "neuron": one for each input of a layer,
            which takes all that leaves it together.
        layers: what is switched: "fc" fully connected layers, "conv" convolutions, "all" both.
        from_scratch: begin with fresh weights instead of the trained ones.
        sparsity: share of zeros in the switched weights, which a threshold is swept for; 0 for what
            the switchers set to zero by themselves, as in the paper. None for 0 from scratch or
            where a goal is met by neurons that leave, else for 0.8: factors of trained weights
            begin near 1 and seldom fall to 0 by themselves.
        threshold: what the threshold is on: "weights", what weights are once they are switched, or
            "factors" alone, whatever the weights are.
        batch: the largest number of samples of one step; larger batches of the task are cut.
        switch_every: the switchers take one step for so many batches, with their mean gradient.
        switcher_channels: of a switcher's convolutions.
        switcher_depth: how often a switcher halves the width of its matrix.
        memory_mb: what a switcher may use while it works, in 10^6 bytes; larger matrices are read
            some rows at a time.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    epochs: int = 20
    schedule: Literal["one-cycle", "cosine", "plateau"] = "plateau"
    learning_rate: float | None = 0.1
    momentum: float = 0.0
    clip_norm: float = 1.0
    mode: Mode = "connection"
    layers: Layers = "fc"
    from_scratch: bool = False
    sparsity: float | None = None
    threshold: Threshold = "weights"
    batch: int = 64
    switch_every: int = 32
    switcher_channels: int = 4
    switcher_depth: int = 2
    memory_mb: float = 256.0

    def __post_init__(self) -> None:
        super().__post_init__()
        known: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("mode", ("connection", "neuron")),
            ("layers", ("fc", "conv", "all")),
            ("threshold", ("weights", "factors")),
        )
        for field, choices in known:
            if getattr(self, field) not in choices:
                raise GoalError(f"{field} '{getattr(self, field)}': give one of {choices}")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise GoalError(
                f"sparsity {self.sparsity:g}: give a share of zeros from 0 to below 1, such as 0.8"
            )
        for field in ("batch", "switch_every", "switcher_channels", "switcher_depth"):
            if getattr(self, field) < 1:
                raise GoalError(f"{field} {getattr(self, field)}: at least 1 is needed")
        if not self.memory_mb > 0:
            raise GoalError(f"memory_mb {self.memory_mb:g}: must be above 0")
        if self.ema or self.patience:
            raise GoalError("snn keeps its last epoch: give ema and patience to finetune")
