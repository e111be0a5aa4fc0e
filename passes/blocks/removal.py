"""Removal: in what order blocks leave, those first that lose least for what they save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compressc.choices.blocks import LEFT_OUT, Block

Choice = Mapping[str, int]
# The error of each of several sets of decisions.
Errors = Callable[[Sequence[Choice]], Sequence[float]]
# What a network costs under decisions: MACs, bytes or milliseconds.
Amount = Callable[[Choice], float]

_TINY = 1e-12


@dataclass(frozen=True)
class Removal:
    """Blocks that are left out together.

    Attributes:
        names: in the order in which they left.
        error: of leaving all of them out.
        amount: what the network then costs.
    """

    names: tuple[str, ...]
    error: float
    amount: float

    @property
    def choice(self) -> dict[str, int]:
        """The decisions."""
        return dict.fromkeys(self.names, LEFT_OUT)


def order_removals(blocks: Sequence[Block], errors: Errors, amount: Amount) -> Iterator[Removal]:
    """Yield ever more blocks to leave out, beginning with none, until no block saves anything.

    Each time that block leaves which adds least to the error for what it saves. Errors depend on
    which blocks have left: of two neighbours the second is worth more once the first is gone.

    Args:
        blocks: that may leave; pinned ones are passed over.
        errors: of sets of decisions.
        amount: of decisions.
    """
    current = Removal((), 0.0, amount({}))
    open_names = [block.name for block in blocks if block.pinned is None]
    while True:
        yield current
        options = [(*current.names, name) for name in open_names if name not in current.names]
        costs = [amount(dict.fromkeys(names, LEFT_OUT)) for names in options]
        saving = [
            (names, cost)
            for names, cost in zip(options, costs, strict=True)
            if cost < current.amount - _TINY
        ]
        if not saving:
            return
        lost = errors([dict.fromkeys(names, LEFT_OUT) for names, _ in saving])
        removals = [
            Removal(names, error, cost) for (names, cost), error in zip(saving, lost, strict=True)
        ]
        before = current
        current = min(
            removals,
            key=lambda r: (r.error - before.error) / (before.amount - r.amount),
        )


def put_back(
    removal: Removal, errors: Errors, amount: Amount, holds: Callable[[Choice], bool]
) -> Removal:
    """Return the removal without blocks that the goal does not ask for, the costliest first.

    Args:
        removal: that meets the goal.
        errors: of sets of decisions.
        amount: of decisions.
        holds: whether decisions meet the goal.
    """
    while True:
        options = [tuple(name for name in removal.names if name != left) for left in removal.names]
        fitting = [names for names in options if holds(dict.fromkeys(names, LEFT_OUT))]
        if not fitting:
            return removal
        lost = errors([dict.fromkeys(names, LEFT_OUT) for names in fitting])
        error, names = min(zip(lost, fitting, strict=True), key=lambda pair: pair[0])
        if error > removal.error:
            return removal
        removal = Removal(names, error, amount(dict.fromkeys(names, LEFT_OUT)))
