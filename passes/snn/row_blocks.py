"""Row blocks: large matrices are read some rows at a time, so that memory stays bounded."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from compressc.errors import PlanError
from compressc.passes.snn.switcher import Switcher

# Feature maps of full width that are alive at once: two for each step of the U-net at that width,
# half as many numbers at the next one, and so on; as much again for gradients.
_MAPS = 24
_BYTES = 4


def count_block_rows(rows: int, columns: int, switcher: Switcher, bound_mb: float, who: str) -> int:
    """Return how many rows of a matrix can be read at once.

    The bound is on what the switcher needs while it works: its feature maps and their gradients.
    Weights, factors and the gradients of both are as large as the matrix and not counted.

    Args:
        rows: of the matrix.
        columns: of the matrix.
        switcher: that reads it.
        bound_mb: in megabytes (10^6 bytes).
        who: the layer, for the error.

    Raises:
        PlanError: if not even one row fits, with those around it that its factors depend on.
    """
    channels = int(switcher.encoder[0].out_channels)  # type: ignore[arg-type]
    row_mb = _BYTES * _MAPS * channels * columns / 1e6
    fitting = int(bound_mb / row_mb)
    if fitting >= rows:
        return rows
    around = 2 * switcher.reach
    if fitting <= around:
        raise PlanError(
            f"snn: {who} is a matrix of {rows} x {columns}; reading one of its rows takes "
            f"{(around + 1) * row_mb:.3g} MB, and --memory-mb is {bound_mb:g}: raise it, or lower "
            "--switcher-channels"
        )
    return fitting - around


def read_in_blocks(switcher: Switcher, matrix: Tensor, block_rows: int) -> Tensor:
    """Return the factors of a matrix, the same as if it were read at once.

    Each block is read together with the rows around it that its factors depend on. Nothing inside
    a block is kept for the gradient: it is computed again on the way back.

    Shape:
        matrix: (m, n); result: (m, n) or (m, 1).
    """
    rows = len(matrix)
    if block_rows >= rows:
        factors: Tensor = switcher(matrix)
        return factors
    parts = []
    for start in range(0, rows, block_rows):
        stop = min(start + block_rows, rows)
        first, last = max(0, start - switcher.reach), min(rows, stop + switcher.reach)
        part = checkpoint(switcher, matrix[first:last], use_reentrant=False)
        parts.append(part[start - first : stop - first])
    return torch.cat(parts)
