"""The operation that stands for an architecture choice in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("compressc::choose", mutates_args=())
def _choose(candidates: Sequence[Tensor], name: str) -> Tensor:
    """Compute an undecided choice: the mean of its candidates."""
    del name
    return torch.stack(list(candidates)).mean(0)


@_choose.register_fake
def _shape_of_choice(candidates: Sequence[Tensor], name: str) -> Tensor:
    first = candidates[0]
    if any(other.dim() != first.dim() for other in candidates):
        raise ValueError(f"choice '{name}': the candidates differ in their number of axes")
    return torch.empty_like(torch.stack(list(candidates))[0])


def _remember_count(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.count = len(inputs[0])


def _share_gradient(ctx: Any, gradient: Tensor) -> tuple[list[Tensor], None]:
    return [gradient / ctx.count for _ in range(ctx.count)], None


_choose.register_autograd(_share_gradient, setup_context=_remember_count)

CHOOSE = torch.ops.compressc.choose.default


def choose(candidates: Sequence[Tensor], name: str) -> Tensor:
    """Return one of several values: which one is a decision of the plan.

    In a module this marks an architecture choice. It survives ``torch.export``, so that a captured
    supernet is a Program whose choices a pass can decide (``Plan.choice``). A skip connection that
    may be left out is ``choose([torch.zeros_like(x), x], name)``.

    Until it is decided, a choice computes the mean of its candidates, so that all of them take
    part; such a program cannot be exported.

    Args:
        candidates: computed values, one or more, all of the same shape.
        name: of the decision. Places with the same name and as many candidates are decided alike.

    Returns:
        A tensor of the candidates' shape.

    Raises:
        RuntimeError: if the shapes differ.
    """
    return CHOOSE(list(candidates), name)  # type: ignore[no-any-return]
