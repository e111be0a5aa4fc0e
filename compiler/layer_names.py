"""The layer that a parameter belongs to, as users name layers."""

from __future__ import annotations

# Where torch.nn.utils.parametrize keeps what a weight is computed from.
_PARAMETRIZED = ".parametrizations."


def owner_of(name: str) -> str:
    """Return the layer of a parameter or buffer: all before its last dot, or the name itself.

    A parametrised weight belongs to the layer that it is a weight of: to ``pre`` if it is called
    ``pre.parametrizations.weight.original1``.
    """
    layer, _, inside = f".{name}".partition(_PARAMETRIZED)
    if inside:
        return layer.removeprefix(".") or name
    return name.rpartition(".")[0] or name
