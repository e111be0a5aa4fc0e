"""The controller of DARTS: mixtures of all candidates, whose weights alternate with the network's.

Every choice is a softmax over its candidates, so that gradients say which of them should count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from compressc.errors import ControllerError, DataError
from compressc.passes.scas.controllers.controller import Ground, SharedWeights
from compressc.passes.scas.supernet import Architecture
from compressc.passes.training.placement import place_targets
from compressc.tasks.capabilities import GivesValidation
from compressc.tasks.protocol import Batch

_RATE = 0.003
_BETAS, _DECAY = (0.5, 0.999), 1e-3
_BEGINNING = 1e-3
# Of the finite difference, relative to the length of the gradient (DARTS, footnote 2).
_STEP = 0.01


class Alternation(SharedWeights):
    """Learns how much every candidate should count, by gradients on search-validation.

    Args:
        ground: what it works on.

    Source:
        SCAS, Algorithm 2; Liu et al., DARTS, ICLR 2019, section 2.3, equations 5 to 8; the second
        order's product with the Hessian is the finite difference of equation 8.

    Deviations:
        Mixture and network take turns by epochs, as Algorithm 2 of SCAS has it, not by batches.

    Raises:
        DataError: if the task does not give its search-validation split with labels.
    """

    def __init__(self, ground: Ground) -> None:
        if not isinstance(ground.task, GivesValidation):
            raise DataError(
                "alternation learns from search-validation with labels, which "
                f"{type(ground.task).__name__} does not give: it has no validation_batches; take "
                "--controller reinforce"
            )
        self._ground, self._validation = ground, ground.task
        self._mixture = nn.ParameterDict(
            {
                str(number): nn.Parameter(_BEGINNING * torch.randn(entry.count))
                for number, entry in enumerate(ground.supernet.choices)
            }
        )
        self._rate = ground.settings.controller_rate or _RATE
        self._optimizer = torch.optim.Adam(
            self._mixture.parameters(), self._rate, betas=_BETAS, weight_decay=_DECAY
        )

    def propose(self) -> Architecture:
        """Return the mixture."""
        return {name: weights.detach() for name, weights in self._weights().items()}

    def learn(self, epoch: int) -> str:
        """Go through search-validation once.

        Raises:
            ControllerError: if a weight of the mixture has become no number.
        """
        ground, total, steps = self._ground, 0.0, 0
        training = self._training_batches(epoch)
        for batch in self._validation.validation_batches(0, ground.seed + epoch):
            self._optimizer.zero_grad()
            ahead = next(training, None) if ground.settings.second_order else None
            total += self._differentiate(batch) if ahead is None else self._look(batch, ahead)
            steps += 1
            self._optimizer.step()
            if not all(bool(torch.isfinite(p).all()) for p in self._mixture.parameters()):
                raise ControllerError(
                    f"the mixture became NaN in epoch {epoch + 1}, step {steps}; give a lower "
                    f"--controller-rate than {self._rate:g}"
                )
        sure = [float(weights.max()) for weights in self.propose().values()]  # type: ignore[union-attr]
        certainty = sum(sure) / len(sure)
        return f"validation loss {total / max(1, steps):.3g}, mean certainty {certainty:.2f}"

    def _training_batches(self, epoch: int) -> Iterator[Batch]:
        return iter(self._ground.task.train_batches(epoch, self._ground.seed + 1))

    def _loss(self, batch: Batch) -> Tensor:
        inputs, targets = batch
        supernet = self._ground.supernet
        outputs = supernet.run(inputs, self._weights())
        return self._ground.task.loss(outputs, place_targets(targets, outputs.device))

    def _differentiate(self, batch: Batch) -> float:
        """Leave the gradient of a loss in the mixture (equation 6 with a step of 0)."""
        loss = self._loss(batch)
        torch.autograd.backward(loss)
        return float(loss.detach())

    def _look(self, batch: Batch, ahead: Batch) -> float:
        """Leave the gradient behind one step of the weights in the mixture (equations 7 and 8)."""
        network = [p for p in self._ground.supernet.module.parameters() if p.is_floating_point()]
        mixture = list(self._mixture.parameters())
        step = self._ground.settings.peak_rate
        saved = [weight.detach().clone() for weight in network]
        try:
            for weight in network:
                weight.requires_grad_(True)
            _shift(network, _gradients(self._loss(ahead), network), -step)
            loss = self._loss(batch)
            both = _gradients(loss, [*mixture, *network])
            direct, direction = both[: len(mixture)], both[len(mixture) :]
            length = float(torch.sqrt(sum((g**2).sum() for g in direction)))  # type: ignore[arg-type]
            scale = _STEP / max(length, 1e-12)
            products = []
            for sign in (1, -1):
                _restore(network, saved)
                _shift(network, direction, sign * scale)
                products.append(_gradients(self._loss(ahead), mixture))
            for parameter, first, plus, minus in zip(mixture, direct, *products, strict=True):
                parameter.grad = first - step * (plus - minus) / (2 * scale)
        finally:
            _restore(network, saved)
            for weight in network:
                weight.requires_grad_(False)
        return float(loss.detach())

    def _weights(self) -> dict[str, Tensor]:
        device = next(self._ground.supernet.module.parameters()).device
        return {
            entry.name: self._mixture[str(number)].to(device).softmax(0)
            for number, entry in enumerate(self._ground.supernet.choices)
        }

    def favourite(self) -> dict[str, int]:
        """Return the strongest candidates, as the space reads a mixture."""
        strengths = {name: weights.detach().tolist() for name, weights in self._weights().items()}
        return self._ground.space.settle(self._ground.supernet.choices, strengths)

    def finalists(self, count: int) -> list[dict[str, int]]:
        """Return the favourite alone: DARTS has one answer."""
        del count
        return [self.favourite()]

    def state(self) -> dict[str, Any]:
        """Return the mixture and its optimizer."""
        return {"mixture": self._mixture.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._mixture.load_state_dict(state["mixture"])
        self._optimizer.load_state_dict(state["optimizer"])


def _gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]


def _shift(parameters: list[nn.Parameter], by: list[Tensor], scale: float) -> None:
    with torch.no_grad():
        for parameter, change in zip(parameters, by, strict=True):
            parameter.add_(change, alpha=scale)


def _restore(parameters: list[nn.Parameter], saved: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, saved, strict=True):
            parameter.copy_(value)
