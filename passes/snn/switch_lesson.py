"""The lesson of SNN: switchers learn in even epochs, the task network in odd ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from compressc.passes.gates.weight_gates import GatedWeights
from compressc.passes.snn.aims import Aim, aim_at, share_of_way, switch
from compressc.passes.snn.factor_pictures import count_levels
from compressc.passes.snn.reading import Reading
from compressc.passes.snn.settings import Threshold
from compressc.passes.snn.switchers import Switchers
from compressc.passes.training.descent import Descent
from compressc.passes.training.learner import Learner
from compressc.passes.training.objectives import Objective
from compressc.passes.training.processes import Processes
from compressc.passes.training.standing import Standing
from compressc.tasks.protocol import Batch, Task


class SwitchLesson:
    """Teaches switchers and a task network in turn, both by the task's loss.

    In an even epoch the network's weights are fixed. Factors depend on nothing but weights, so one
    reading serves several batches: their gradients are averaged over ``every`` of them before the
    switchers take a step. In an odd epoch the factors stay those of its beginning.

    Args:
        task: judges on search-validation.
        objective: what both make small.
        processes: that share the work.
        learner: the network in training.
        switchers, descent: who answers with factors, and how they learn.
        aims: which factors are switched off besides.
        threshold: what they decide by.
        every: batches of one step of the switchers.
        epochs: of the whole run.
    """

    def __init__(
        self,
        task: Task,
        objective: Objective,
        processes: Processes,
        learner: Learner,
        switchers: Switchers,
        descent: Descent,
        aims: Sequence[Aim],
        threshold: Threshold,
        every: int,
        epochs: int,
    ) -> None:
        self._task, self._objective, self._processes = task, objective, processes
        self._learner, self._switchers, self._descent = learner, switchers, descent
        self._aims, self._threshold = aims, threshold
        self._every, self._epochs = every, epochs
        module = learner.module
        assert isinstance(module, fx.GraphModule)
        self._gates = GatedWeights(module, [layer.weight for layer in switchers.layers])
        self._switching = False
        self._histograms: list[list[list[float]]] = []
        self._masks: list[list[Tensor]] = []
        self._share = 0.0
        # Until something was learned, the network is what it was.
        self._pictures = [torch.ones_like(picture) for picture in self._read()]
        self._open: Reading | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Let the switchers read the weights, and say who learns."""
        self._switching = epoch % 2 == 0
        self._learner.begin_epoch()
        self._show(self._read(), share_of_way(epoch, self._epochs))

    def step(self, batch: Batch) -> Tensor:
        """Let the network learn from one batch, or collect what it says to the factors."""
        if not self._switching:
            return self._learner.step(batch, self._objective)
        if self._open is None:
            pictures = self._switchers(self._learner.module.state_dict())
            self._open = Reading(self._fit(self._factors(pictures)))
            self._gate(self._open.factors)
        loss = self._learner.loss(batch, self._objective)
        self._open.add(loss)
        if self._open.batches == self._every:
            self._teach()
        return loss.detach()

    def end_epoch(self) -> None:
        """Let the switchers have what is left over; bring running statistics together."""
        if self._switching:
            self._teach()
            self._descent.end_epoch(self._processes)
            self._show(self._read(), None)
        self._learner.end_epoch()
        factors = self._factors(self._pictures)
        self._histograms.append([count_levels(each) for each in factors])

    def is_finite(self) -> bool:
        """Return whether every weight of both is a number."""
        return self._learner.is_finite() and self._descent.is_finite()

    def judge(self) -> float:
        """Return the metric on search-validation under the factors."""
        self._gate(self._fit(self._factors(self._pictures)))
        return float(self._task.validate(self._learner.module.eval()))

    def outcome(self) -> Mapping[str, Any]:
        """Return the network's weights, and each layer's factors as its switcher gave them.

        With them, what aims leave of them, how far the way to the aims was gone, and how factors
        were distributed after each epoch so far.
        """
        return {
            "network": self._learner.weights(),
            "factors": list(self._pictures),
            "masks": [list(masks) for masks in self._masks],
            "share": self._share,
            "histograms": [list(epoch) for epoch in self._histograms],
        }

    def state(self) -> dict[str, Any]:
        """Return the state of both (shared)."""
        return {
            "learner": self._learner.state(),
            "switchers": self._switchers.state_dict(),
            "descent": self._descent.state(),
            "histograms": [list(epoch) for epoch in self._histograms],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._learner.load(state["learner"])
        self._switchers.load_state_dict(state["switchers"])
        self._descent.load(state["descent"])
        self._histograms = [list(epoch) for epoch in state["histograms"]]

    def describe(self, standing: Standing) -> str:
        """Return who learns, and how many of the factors are 0."""
        who = "switchers" if self._switching else "network"
        if not self._histograms:
            return f"{who} learning"
        sizes = [picture.numel() for picture in self._pictures]
        zeros = [levels[0] * size for levels, size in zip(self._histograms[-1], sizes, strict=True)]
        text = f"{who} learning, {100 * sum(zeros) / sum(sizes):.1f} % of the factors 0"
        if math.isnan(standing.metric):
            return text
        return f"{text}, search-validation {standing.metric:.4g}"

    def _read(self) -> list[Tensor]:
        with torch.no_grad():
            pictures: list[Tensor] = self._switchers(self._learner.module.state_dict())
        return pictures

    def _show(self, pictures: list[Tensor], share: float | None) -> None:
        """Let the next steps run under these factors, with new masks for a share of the way."""
        if share is not None:
            self._share = share
            state = self._learner.module.state_dict()
            layers = self._switchers.layers
            self._masks = aim_at(self._aims, layers, state, pictures, self._threshold, share)
        self._pictures = pictures
        self._gate(self._fit(self._factors(pictures)))

    def _factors(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        return [
            switch(picture, [masks[index] for masks in self._masks])[0]
            for index, picture in enumerate(pictures)
        ]

    def _fit(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """Return factors in the shapes and the memory layout of the weights: faster every time."""
        layers = zip(self._switchers.layers, factors, strict=True)
        return [layer.fit(each).contiguous() for layer, each in layers]

    def _gate(self, fitted: Sequence[Tensor]) -> None:
        layers = zip(self._switchers.layers, fitted, strict=True)
        self._gates.set_factors({layer.weight: each for layer, each in layers})

    def _teach(self) -> None:
        """Let the switchers take a step along what was collected."""
        reading, self._open = self._open, None
        if reading is None:
            return
        self._descent.clear()
        reading.backward()
        for parameter in self._switchers.parameters():
            if parameter.grad is not None:
                self._processes.average_in_place([parameter.grad])
        self._descent.step(reading.loss)
