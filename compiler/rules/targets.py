"""Finding operations by name, among those that this version of torch has."""

from __future__ import annotations

from typing import Any

import torch


def overloads(names: str, overload_names: str) -> tuple[Any, ...]:
    """Return the ATen overloads called ``overload_names`` of the operations called ``names``.

    Both are words separated by blanks; what torch does not have is left out.
    """
    targets: list[Any] = []
    for name in names.split():
        packet = getattr(torch.ops.aten, name, None)
        known = packet.overloads() if packet is not None else ()
        targets.extend(
            getattr(packet, overload) for overload in overload_names.split() if overload in known
        )
    return tuple(targets)
