"""Making synthetic samples: from a trained network alone to inputs that passes can repair on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil, prod

import torch
from torch import Generator, Tensor
from torch.utils import _pytree as pytree

from compressc.channels.shapes import hinted_shape
from compressc.datasets.synthetic.input_values import InputKind, draw_input, read_input_kinds
from compressc.datasets.synthetic.matching import (
    NOT_FINITE,
    Matching,
    Progress,
    match_statistics,
)
from compressc.datasets.synthetic.norm_memory import NormMemory, read_norm_memory
from compressc.errors import DataError
from compressc.program import Program
from compressc.tasks.agreement import are_logits
from compressc.tasks.protocol import Inputs
from compressc.tasks.unlabeled import bound_batch, take_rows

# Fewer samples than asked for are made where there is no time for this many steps on all of them.
_ENOUGH_STEPS = 60
_FEWEST_SAMPLES = 16
# Samples that the pace is measured on.
_PROBE = 16
# Of what the forward pass computes, the backward pass holds about as much again.
_BACKWARD = 2


@dataclass(frozen=True)
class SyntheticSettings:
    """How many inputs are made, and what that may cost.

    Attributes:
        samples: to repair on; colour pictures are mirrored on top, which doubles them.
        drawn: the same where nothing is optimised, so that they cost next to nothing.
        judged: more of them, to compare the result with the original on.
        seconds: that the optimisation may take.
        memory_bytes: for activations; batches are cut to fit.
        matching: the optimisation of a batch.
    """

    samples: int = 128
    drawn: int = 512
    judged: int = 32
    seconds: float = 300.0
    memory_bytes: int = 3 * 2**30
    matching: Matching = field(default_factory=Matching)

    def __post_init__(self) -> None:
        for what in ("samples", "drawn", "judged", "seconds"):
            if not getattr(self, what) > 0:
                raise DataError(f"synthetic {what} {getattr(self, what):g}: must be above 0")


@dataclass(frozen=True, eq=False)
class SyntheticInputs:
    """Inputs that were made.

    Attributes:
        repairing, judging: one tensor for each input of the network, samples on the first axis.
        notes: how they were made, and what the user should know.
    """

    repairing: Inputs
    judging: Inputs
    notes: tuple[str, ...]


def make_inputs(
    program: Program, settings: SyntheticSettings, seed: int, progress: Progress
) -> SyntheticInputs:
    """Return inputs on which the batch norms of a network see what they remember of its data.

    Where there are no trained batch norms nothing is optimised: inputs are random pictures of
    overlapping shapes, noise with the spectrum of pictures, and integers that embeddings admit.

    Args:
        program: the original.
        settings: how many, and what that may cost.
        seed: of every random choice. The result is the same for the same seed unless time ran out.
        progress: called with (done, total, text).

    Raises:
        DataError: if what the network computes on such inputs is no number, or no input has a batch
            axis.
    """
    started = time.monotonic()
    kinds, memory = read_input_kinds(program), read_norm_memory(program)
    if not any(kind.is_batched for kind in kinds):
        raise DataError("no input of the model has a batch axis, so none can be made; --no-repair")
    maker = _Maker(program, kinds, memory, settings, Generator().manual_seed(seed), progress)
    if maker.can_optimize:
        count = maker.afford(settings.samples + settings.judged)
        parts = list(maker.optimized(count, started + settings.seconds))
    else:
        parts = [maker.drawn(settings.drawn + settings.judged)]
    inputs = _joined(kinds, parts)
    _check_finite(program, inputs, kinds)
    batched = [kind.is_batched for kind in kinds]
    count = len(inputs[batched.index(True)])
    # An even number, so that halves of it can be told apart with their mirror images.
    judged = min(settings.judged, max(2, count // 3)) // 2 * 2
    # Each batch is optimised as a whole, so both uses get samples of each.
    order = torch.randperm(count, generator=Generator().manual_seed(seed))
    repairing, judging = (
        take_rows(inputs, batched, rows) for rows in (order[judged:], order[:judged])
    )
    if maker.can_optimize:
        repairing, judging = _mirrored(kinds, repairing), _mirrored(kinds, judging)
    return SyntheticInputs(repairing, judging, maker.notes(repairing))


class _Maker:
    """Makes batches of inputs, and remembers what there is to say about it."""

    def __init__(
        self,
        program: Program,
        kinds: tuple[InputKind, ...],
        memory: NormMemory,
        settings: SyntheticSettings,
        generator: Generator,
        progress: Progress,
    ) -> None:
        self._program, self._kinds, self._memory = program, kinds, memory
        self._settings, self._generator, self._progress = settings, generator, progress
        self._classes = _count_classes(program)
        self._bound = bound_batch(program)
        self._distance, self._steps = 0.0, 0

    @property
    def can_optimize(self) -> bool:
        """Whether something is remembered, and something can be changed."""
        return bool(self._memory.remembered) and any(kind.is_continuous for kind in self._kinds)

    def afford(self, count: int) -> int:
        """Return how many samples there is time for."""
        probe = self._bound or _PROBE
        quick = replace(self._settings.matching, steps=1)
        for _ in range(2):  # the first time is slower than all others
            began = time.monotonic()
            self._match(probe, quick, began + self._settings.seconds, _say_nothing)
        # Two forward passes and one backward pass.
        per_step = 0.75 * (time.monotonic() - began) / probe
        steps = min(_ENOUGH_STEPS, self._settings.matching.steps)
        affordable = int(self._settings.seconds / max(1e-9, per_step * steps))
        return max(min(count, affordable), min(count, _FEWEST_SAMPLES))

    def optimized(self, count: int, deadline: float) -> Iterator[Inputs]:
        """Yield batches with ``count`` samples in all."""
        size = self._bound or max(1, min(count, self._batch_in_memory()))
        number = ceil(count / size)
        done = 0
        for place in range(number):
            now = time.monotonic()
            until = now + (deadline - now) / (number - place)
            rows = self._bound or ceil((count - done) / (number - place))
            report = self._within(place, number)
            yield self._match(rows, self._settings.matching, until, report)
            done += rows

    def _within(self, place: int, number: int) -> Progress:
        """Return the progress of one batch as a part of the whole."""
        steps = self._settings.matching.steps

        def report(done: int, total: int, text: str) -> None:
            batch = f"batch {place + 1} of {number}, " if number > 1 else ""
            inside = round(done * steps / max(1, total))
            self._progress(place * steps + inside, number * steps, batch + text)

        return report

    def drawn(self, count: int) -> Inputs:
        """Return random inputs."""
        return self._draw(self._bound * ceil(count / self._bound) if self._bound else count)

    def notes(self, repairing: Inputs) -> tuple[str, ...]:
        """Return how the inputs were made."""
        fresh = self._memory.fresh
        if self._memory.remembered and self.can_optimize:
            size = max(
                len(x) for x, kind in zip(repairing, self._kinds, strict=True) if kind.is_batched
            )
            return (
                f"no data: {size} inputs were made from what {len(self._memory.remembered)} batch "
                f"norms remember ({self._steps} steps, statistics off by {self._distance:.3f})",
            )
        said = "no data: inputs are random pictures or noise"
        if not any(kind.is_continuous for kind in self._kinds):
            said = "no data: inputs are drawn from what the network admits"
        if fresh:
            return (
                f"{said}; all {fresh} batch norms are fresh (mean 0, variance 1), so nothing can "
                "be learned from them: are these the trained weights?",
            )
        return (f"{said}, for the network has no batch norm that remembers its data",)

    def _match(self, count: int, matching: Matching, deadline: float, progress: Progress) -> Inputs:
        classes = None
        if self._classes:
            order = torch.randperm(max(count, self._classes), generator=self._generator)
            classes = order[:count] % self._classes
        matched = match_statistics(
            self._memory, self._kinds, self._draw(count), matching, classes, deadline, progress
        )
        self._distance, self._steps = matched.distance, matched.steps
        return matched.inputs

    def _draw(self, count: int) -> Inputs:
        return tuple(
            draw_input(kind, example, count, self._generator)
            for kind, example in zip(self._kinds, self._program.example_inputs, strict=True)
        )

    def _batch_in_memory(self) -> int:
        values = (
            node.meta.get("val")
            for node in self._program.graph_module.graph.nodes
            if node.op == "call_function"
        )
        floats = sum(prod(hinted_shape(x)[1:]) for x in values if isinstance(x, Tensor) and x.dim())
        return int(self._settings.memory_bytes / max(1, 4 * _BACKWARD * floats))


def _say_nothing(_done: int, _total: int, _text: str) -> None:
    pass


def _joined(kinds: tuple[InputKind, ...], parts: list[Inputs]) -> Inputs:
    return tuple(
        torch.cat(column) if kind.is_batched else column[0]
        for kind, column in zip(kinds, zip(*parts, strict=True), strict=True)
    )


def _mirrored(kinds: tuple[InputKind, ...], inputs: Inputs) -> Inputs:
    """Return pictures followed by their mirror images, and everything else twice."""
    if not any(kind.may_be_mirrored for kind in kinds):
        return inputs
    return tuple(
        torch.cat([x, x.flip(3) if kind.may_be_mirrored else x]) if kind.is_batched else x
        for x, kind in zip(inputs, kinds, strict=True)
    )


def _count_classes(program: Program) -> int:
    """Return how many classes logits tell apart; 0 where the outputs are no logits."""
    with torch.no_grad():
        outputs = program.graph_module(*program.example_inputs)
    return int(outputs.shape[1]) if are_logits(outputs) else 0


def _check_finite(program: Program, inputs: Inputs, kinds: tuple[InputKind, ...]) -> None:
    """Refuse inputs that the network makes nothing of.

    Raises:
        DataError: if an output is no number on the first samples.
    """
    batched = [kind.is_batched for kind in kinds]
    count = len(inputs[batched.index(True)])
    rows = torch.arange(bound_batch(program) or min(count, _PROBE))
    first = take_rows(inputs, batched, rows)
    with torch.no_grad():
        outputs = pytree.tree_leaves(program.graph_module(*first))
    if any(isinstance(output, Tensor) and bool(output.isnan().any()) for output in outputs):
        raise DataError(NOT_FINITE)
