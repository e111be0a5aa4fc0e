"""Plain text: what may reach a terminal or a page of names that files brought along."""

from __future__ import annotations

# What stands where a character would steer the terminal, or cannot be written at all.
_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Return a text whose characters all print; line ends and tabs stay.

    Terminal codes, other control characters, direction marks and halves of surrogate pairs, which
    names in a file or undecodable paths may hold, are replaced one by one.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _INSTEAD for c in text)
