"""Which inputs of a module are indices: looked up in a table, not computed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from compressc.frontend.silence import quiet

# Operation -> places of the index and of what it looks up, and the axis of that.
_LOOK_UPS: Mapping[Any, tuple[int, int, int]] = {
    functional.embedding: (0, 1, 0),
    functional.embedding_bag: (0, 1, 0),
    torch.embedding: (1, 0, 0),
    Tensor.__getitem__: (1, 0, 0),
}


class _Look(Exception):  # noqa: N818 - it ends the run that has told what was asked
    """An input is used as an index into a table of this many rows."""

    def __init__(self, place: int, rows: int) -> None:
        super().__init__(place, rows)
        self.place, self.rows = place, rows


class _Origin(Tensor):
    """A tensor that remembers the inputs that it was computed from."""

    places: frozenset[int]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        origins = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, _Origin)]
        _report_look_up(func, args)
        result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        places = frozenset().union(*(x.places for x in origins if hasattr(x, "places")))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, _Origin):
                leaf.places = places
        return result


def find_index_inputs(module: nn.Module, inputs: Sequence[Tensor]) -> dict[int, int]:
    """Return which inputs are looked up in tables, and how many rows the smallest table has.

    The module is run on tensors that remember the inputs that they come from; where one of them
    is an embedding's index, so is its input. A run that fails for another reason ends the search:
    capturing the module will say why.

    Args:
        module: left in the mode that it was in.
        inputs: one example input each.
    """
    rows: dict[int, int] = {}
    training = module.training
    module.eval()
    try:
        for _ in inputs:
            look = _run(module, inputs, rows)
            if look is None:
                break
            rows[look.place] = look.rows
    finally:
        module.train(training)
    return rows


def _run(module: nn.Module, inputs: Sequence[Tensor], rows: Mapping[int, int]) -> _Look | None:
    marked: list[Tensor] = []
    for place, tensor in enumerate(inputs):
        plain = torch.zeros_like(tensor, dtype=torch.int64) if place in rows else tensor
        origin = plain.as_subclass(_Origin)
        origin.places = frozenset((place,)) - rows.keys()
        marked.append(origin)
    try:
        with torch.no_grad(), quiet():
            module(*marked)
    except _Look as look:
        return look
    except Exception:  # noqa: BLE001 - any code of the user's; capturing it tells what is wrong
        return None
    return None


def _report_look_up(func: Callable[..., Any], args: Sequence[Any]) -> None:
    where = _LOOK_UPS.get(func)
    if where is None or len(args) < 2:
        return
    index, table, axis = args[where[0]], args[where[1]], where[2]
    if isinstance(index, _Origin) and isinstance(table, Tensor) and len(index.places) == 1:
        (place,) = index.places
        raise _Look(place, int(table.shape[axis]))
