"""Convolutions with what follows them: activations and sums leave with the stored result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from compressc.sparse_graph.node_reading import Reading
from compressc.sparse_graph.plan_numbers import NO_ACTIVATION, Activation, Kind


@dataclass(frozen=True)
class Fused:
    """A reading and what is done to its result before it is stored.

    Attributes:
        reading: the operation.
        output: the value that is stored.
        residual: the value added to the result, or empty.
        before: applied before the sum.
        after: applied last.
    """

    reading: Reading
    output: str
    residual: str = ""
    before: Activation = NO_ACTIVATION
    after: Activation = NO_ACTIVATION


def fuse(readings: Sequence[Reading], outputs: Sequence[str]) -> Iterator[Fused]:
    """Yield operations in order; what nothing reads is left out.

    Args:
        readings: in an order in which each value is made before it is read.
        outputs: values that are needed afterwards.
    """
    live = _live(readings, outputs)
    uses = Counter(name for reading in live for name in reading.inputs)
    uses.update(outputs)
    readers = {name: reading for reading in live for name in reading.inputs}
    made_inside = {reading.output for reading in live}
    stored: set[str] = set()
    absorbed: set[str] = set()
    for reading in live:
        if reading.output in absorbed:
            continue
        if reading.kind is not Kind.CONVOLUTION:
            fused = Fused(reading, reading.output, after=reading.activation)
        else:
            fused = Fused(reading, reading.output)
            while uses[fused.output] == 1 and fused.output in readers:
                following = readers[fused.output]
                longer = _extend(fused, following, lambda v: v in stored or v not in made_inside)
                if longer is None:
                    break
                fused = longer
                absorbed.add(fused.output)
        stored.add(fused.output)
        yield _normalized(fused)


def _live(readings: Sequence[Reading], outputs: Sequence[str]) -> list[Reading]:
    needed = set(outputs)
    kept = []
    for reading in reversed(readings):
        if reading.output in needed:
            kept.append(reading)
            needed.update(reading.inputs)
    return kept[::-1]


def _extend(fused: Fused, following: Reading, is_stored: Callable[[str], bool]) -> Fused | None:
    if following.kind is Kind.ACTIVATE and fused.after == NO_ACTIVATION:
        if fused.residual:
            return Fused(
                fused.reading, following.output, fused.residual, fused.before, following.activation
            )
        if fused.before == NO_ACTIVATION:
            return Fused(fused.reading, following.output, before=following.activation)
        return None
    if following.kind is Kind.ADD and not fused.residual:
        other = [name for name in following.inputs if name != fused.output]
        if len(other) == 1 and is_stored(other[0]):
            return Fused(fused.reading, following.output, other[0], fused.before)
    return None


def _normalized(fused: Fused) -> Fused:
    """Without a sum there is one activation, and it comes last."""
    if fused.residual or fused.before == NO_ACTIVATION:
        return fused
    return Fused(fused.reading, fused.output, after=fused.before)
