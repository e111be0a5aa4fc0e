"""Batches of a task, cut into smaller ones."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.utils import _pytree as pytree

from compressc.tasks.protocol import Batch


def cut_batch(batch: Batch, most: int) -> Iterator[Batch]:
    """Yield a batch in parts of nearly equal size, none larger than ``most``; 0 for one part.

    Tensors with another first axis than the batch's go into every part.
    """
    inputs, targets = batch
    count = len(inputs[0])
    parts = count_parts(count, most)
    for part in range(parts):
        rows = slice(part * count // parts, (part + 1) * count // parts)

        def pick(tensor: Tensor, rows: slice = rows) -> Tensor:
            return tensor[rows] if tensor.dim() and len(tensor) == count else tensor

        yield tuple(map(pick, inputs)), pytree.tree_map_only(Tensor, pick, targets)


def count_parts(count: int, most: int) -> int:
    """Return into how many parts :func:`cut_batch` cuts a batch of ``count`` samples."""
    return -(-count // most) if most else 1
