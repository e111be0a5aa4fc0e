"""Agreement: how far the outputs of a model lie from those of the original, on the same inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from compressc.errors import DataError

# So many standard deviations above chance are more than luck.
_CERTAIN = 3.0
# A model that always answered with the mean of each output would be off by 1.
_USELESS_ERROR = 0.95
# Where answers that ignore the input would agree this often, agreement says nothing.
_ALL_ALIKE = 0.95


@dataclass(frozen=True)
class Agreement:
    """How far a model agrees with the original.

    Attributes:
        samples: how many inputs were compared.
        relative_error: of the output that lies farthest off: root mean square of the difference
            over that of the original's variation over samples. Infinite where a model returns what
            is no number.
        top1: share of samples with the same largest logit; None where outputs are no logits.
        chance: the ``top1`` of a model that gives the same answers, but to any input; None as well.
    """

    samples: int
    relative_error: float
    top1: float | None = None
    chance: float | None = None

    @property
    def is_at_chance(self) -> bool:
        """Whether nothing shows that the model still does what the original does."""
        if self.top1 is None or self.chance is None:
            return not self.relative_error < _USELESS_ERROR
        luck = math.sqrt(self.chance * (1 - self.chance) / max(1, self.samples))
        return self.top1 <= self.chance + _CERTAIN * luck

    @property
    def tells_nothing(self) -> bool:
        """Whether the original answers (nearly) every input alike, so that nothing shows."""
        return self.chance is not None and self.chance > _ALL_ALIKE

    @property
    def percent(self) -> float:
        """The agreement as a number, higher is better, at most 100."""
        if self.top1 is not None:
            return 100 * self.top1
        return 100 * (1 - self.relative_error) if math.isfinite(self.relative_error) else -math.inf

    @property
    def text(self) -> str:
        """The numbers in words, to follow "agrees with the original"."""
        if self.top1 is None or self.chance is None:
            return f"outputs differ by {self.relative_error:.2f} of what they vary by"
        return f"the same top-1 on {100 * self.top1:.1f} % (by chance {100 * self.chance:.0f} %)"


class Comparison:
    """Compares a model with the original batch by batch, in memory that does not grow.

    Outputs are compared leaf by leaf. One output of shape (N, classes) counts as logits.
    """

    def __init__(self) -> None:
        self._sums: list[_Sums] = []
        self._samples = 0
        self._same = 0
        # How often each class was said, by the original and by the model.
        self._said: Tensor | int = 0
        self._has_logits = True

    def add(self, reference: Any, outputs: Any) -> None:
        """Take in what the original and the model return for one batch.

        Raises:
            DataError: if no divergence fits these outputs.
        """
        pairs = list(zip(float_outputs(reference), float_outputs(outputs), strict=True))
        for wanted, given in pairs:
            if wanted.shape != given.shape:
                raise DataError(
                    f"outputs of shapes {tuple(wanted.shape)} and {tuple(given.shape)} cannot be "
                    "compared: how many there are depends on the input"
                )
        self._sums = self._sums or [_Sums() for _ in pairs]
        for sums, (wanted, given) in zip(self._sums, pairs, strict=True):
            sums.add(wanted, given)
        self._samples += len(pairs[0][0])
        self._has_logits = self._has_logits and are_logits(reference)
        if self._has_logits:
            answers = [tensor.argmax(1) for tensor in pairs[0]]
            self._same += int((answers[0] == answers[1]).sum())
            counts = [torch.bincount(row, minlength=pairs[0][0].shape[1]) for row in answers]
            self._said = torch.stack(counts) + self._said

    def agreement(self) -> Agreement:
        """Return how far the model agrees over all batches so far.

        Raises:
            DataError: if there was none.
        """
        if not self._samples:
            raise DataError("there is no batch to compare the model with the original on")
        error = max(sums.relative_error for sums in self._sums)
        if not self._has_logits:
            return Agreement(self._samples, error)
        assert isinstance(self._said, Tensor)
        chance = float(self._said.double().prod(0).sum()) / self._samples**2
        return Agreement(self._samples, error, self._same / self._samples, chance)


class _Sums:
    """What one output is judged by, added up over batches."""

    def __init__(self) -> None:
        self._rows = 0
        # Sums of the original's values and of their squares, per element of a sample.
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0
        self._error = 0.0

    def add(self, wanted: Tensor, given: Tensor) -> None:
        if not wanted.dim():
            wanted, given = wanted[None], given[None]
        finite = wanted.isfinite()
        if not given[finite].isfinite().all():
            self._error = math.inf
        wanted, given = (torch.where(finite, x, 0).double() for x in (wanted, given))
        self._rows += len(wanted)
        self._first = wanted.sum(0) + self._first
        self._second = wanted.square().sum(0) + self._second
        self._error += float((given - wanted).square().sum())

    @property
    def relative_error(self) -> float:
        first, second = torch.as_tensor(self._first), torch.as_tensor(self._second)
        variance = second / self._rows - (first / self._rows).square()
        varied = math.sqrt(float(variance.clamp_min(0).mean()))
        error = math.sqrt(self._error / (self._rows * first.numel()))
        if varied > 0:
            return error / varied
        return math.inf if error > 0 else 0.0


def are_logits(outputs: Any) -> bool:
    """Return whether a model gives one row of logits for each sample, and nothing else."""
    return isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.shape[1] > 1


def float_outputs(outputs: Any) -> list[Tensor]:
    """Return the outputs that a divergence can be taken of, out of any nesting.

    Raises:
        DataError: if there is none.
    """
    leaves = [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]
    floats = [x for x in leaves if x.is_floating_point()]
    if not floats:
        kinds = ", ".join(sorted({str(x.dtype).removeprefix("torch.") for x in leaves})) or "none"
        raise DataError(
            f"outputs are {kinds}: no divergence from the original fits them; let the model return "
            "what it chooses by (logits, scores), or give --data with labels"
        )
    return floats
