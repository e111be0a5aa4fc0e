"""Finding operations by name, among those that this version of torch has."""

from __future__ import annotations

from typing import Any

import torch


def overloads(names: str, wanted: str) -> tuple[Any, ...]:
    """Return the ATen overloads called ``wanted`` of the operations called ``names``.

    Both are words separated by blanks; what torch does not have is left out.
    """
    found: list[Any] = []
    for name in names.split():
        packet = getattr(torch.ops.aten, name, None)
        known = packet.overloads() if packet is not None else ()
        found.extend(getattr(packet, overload) for overload in wanted.split() if overload in known)
    return tuple(found)
