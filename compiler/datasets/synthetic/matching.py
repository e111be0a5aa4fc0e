"""Matching: inputs optimised until the batch norms of a network see what they remember."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from compressc.datasets.synthetic.input_values import InputKind
from compressc.datasets.synthetic.norm_memory import NormMemory
from compressc.errors import DataError

Progress = Callable[[int, int, str], None]

NOT_FINITE = (
    "what the network computes on synthetic inputs is not finite; give --data DIR with real ones, "
    "or --no-repair for the bare cut"
)
# The first steps say little about how long the others will take.
_WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Matching:
    """How inputs are optimised.

    Attributes:
        steps: of Adam.
        rate: its learning rate at the start; it falls to 0 along a cosine.
        statistics: weight of the distance from the remembered statistics.
        confidence: weight of the cross entropy to classes that are drawn, for networks with logits.
        smoothness: weight of the mean square of the difference between neighbours.

    Source:
        Cai et al., ZeroQ, CVPR 2020; Yin et al., Dreaming to Distill (DeepInversion), CVPR 2020.

    Deviations:
        Errors of means and deviations count in remembered deviations, so that every channel of
        every layer counts alike; the start is noise with the spectrum of pictures.
    """

    steps: int = 110
    rate: float = 0.1
    statistics: float = 10.0
    confidence: float = 0.1
    smoothness: float = 0.05


@dataclass(frozen=True, eq=False)
class Matched:
    """A batch of optimised inputs.

    Attributes:
        inputs: one tensor for each input of the network.
        distance: from the remembered statistics at the end; see :class:`NormMemory`.
        steps: that were made.
    """

    inputs: tuple[Tensor, ...]
    distance: float
    steps: int


def match_statistics(
    memory: NormMemory,
    kinds: Sequence[InputKind],
    start: Sequence[Tensor],
    settings: Matching,
    classes: Tensor | None,
    deadline: float,
    progress: Progress,
) -> Matched:
    """Optimise one batch of inputs.

    Args:
        memory: of the network; not empty.
        kinds: of its inputs; those that are not continuous stay as they are.
        start: values to begin with.
        settings: weights and steps.
        classes: the class that each sample should get, (N,); None for a network without logits.
        deadline: by :func:`time.monotonic`; fewer steps are made where all would take longer.
        progress: called with (done, total, text).

    Raises:
        DataError: if what the network computes is no number on the start already.
    """
    inputs = [_leaf(tensor, kind) for tensor, kind in zip(start, kinds, strict=True)]
    free = [tensor for tensor in inputs if tensor.requires_grad]
    optimizer = torch.optim.Adam(free, lr=settings.rate)
    best = tuple(tensor.detach().clone() for tensor in inputs)
    started, distance, done, steps = time.monotonic(), math.inf, 0, settings.steps
    for done in range(settings.steps + 1):
        shown, outputs = memory.module(*inputs)
        gap = memory.distance(shown)
        if not bool(torch.isfinite(gap)):
            if not done:
                raise DataError(NOT_FINITE)
            break
        best, distance = tuple(tensor.detach().clone() for tensor in inputs), float(gap.detach())
        if done >= steps:
            break
        loss = settings.statistics * gap + _extra_loss(outputs, inputs, kinds, classes, settings)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * 0.5 * (1 + math.cos(math.pi * done / steps))
        optimizer.step()
        steps = _affordable(done + 1, settings.steps, started, deadline)
        progress(done + 1, steps, f"step {done + 1} of {steps}, statistics off by {distance:.3f}")
    return Matched(best, distance, done)


def _extra_loss(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    kinds: Sequence[InputKind],
    classes: Tensor | None,
    settings: Matching,
) -> Tensor | float:
    loss: Tensor | float = 0.0
    if classes is not None:
        loss = loss + settings.confidence * F.cross_entropy(outputs[0].float(), classes)
    for tensor, kind in zip(inputs, kinds, strict=True):
        if tensor.requires_grad:
            for axis in kind.smooth_axes:
                loss = loss + settings.smoothness * tensor.diff(dim=axis).square().mean()
    return loss


def _leaf(tensor: Tensor, kind: InputKind) -> Tensor:
    if not kind.is_continuous:
        return tensor
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.detach().clone(memory_format=layout).requires_grad_()


def _affordable(done: int, steps: int, started: float, deadline: float) -> int:
    """Return how many steps fit before the deadline, at the pace so far."""
    now = time.monotonic()
    if done < _WARM_UP_STEPS:
        return steps
    left = int((deadline - now) / max(1e-9, (now - started) / done))
    return max(done, min(steps, done + left))
