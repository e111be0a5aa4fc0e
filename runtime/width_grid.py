"""At which widths a kernel is measured: everywhere that latency bends, seldom where it is straight.

Blocked kernels work on several blocks of output channels at once, so their time rises in uneven
steps over the first few blocks of outputs; over input channels it is nearly straight.
"""

from __future__ import annotations

import itertools

from compressc.runtime.kernel_kinds import KernelKind, Widths

_IN_BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_OUT_BLOCKS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 96, 128)
# Fewer input channels than a block come unblocked, which narrow networks can gain by.
_PARTS = (1, 2, 3)
_NARROW = 4
_SHARES = (1.0, 0.75, 0.5, 0.25, 0.125)


def grid(kind: KernelKind, most: Widths, block: int) -> list[Widths]:
    """Return the widths to measure a kind at, up to and including ``most``.

    Args:
        kind: the kernel kind.
        most: the largest width of each of its variables.
        block: channels in a block of the runtime's blocked layout.
    """
    levels = [
        _levels(kind, name, width, block) for name, width in zip(kind.variables, most, strict=True)
    ]
    return [tuple(widths) for widths in itertools.product(*levels)]


def _levels(kind: KernelKind, name: str, most: int, block: int) -> list[int]:
    divisor = max(_divisor(dim, name) for form in kind.operands if form for dim in form.dims)
    if kind.blocked and divisor == 1:
        if most < block:
            return [most]  # the picture itself, whose three channels nobody removes
        blocks = _OUT_BLOCKS if name == "out" else _IN_BLOCKS
        parts = _PARTS if name == "in" and most <= _NARROW * block else ()
        narrow = (block * part // 4 for part in parts)
        return sorted({most, *narrow, *(block * count for count in blocks if block * count < most)})
    step = max(block, divisor)
    levels = {most}
    for share in _SHARES[1:]:
        width = int(most * share) // step * step
        if width:
            levels.add(width)
    if kind.op == "Concat":
        return sorted(width for width in levels if width >= len(kind.operands))
    return sorted(levels)


def _divisor(dim: int | str, name: str) -> int:
    if not isinstance(dim, str):
        return 1
    variable, _, divisor = dim.partition("/")
    return int(divisor) if variable == name and divisor else 1
