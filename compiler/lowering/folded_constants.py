"""What became of the constants that removed channels carried."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 2


@dataclass(frozen=True)
class FoldedConstants:
    """Where constants of removed channels went.

    Attributes:
        folded: layers whose bias took them over.
        refused: places that could not, and why.
    """

    folded: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def with_more(self, other: FoldedConstants) -> FoldedConstants:
        """Return both together."""
        return FoldedConstants(
            tuple(dict.fromkeys((*self.folded, *other.folded))),
            tuple(dict.fromkeys((*self.refused, *other.refused))),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, in short; none where nothing was constant."""
        notes = []
        if self.folded:
            notes.append(
                f"constants of removed channels went into the biases of {len(self.folded)} "
                f"layer(s): {_some(self.folded)}"
            )
        if self.refused:
            notes.append(
                f"constants of removed channels are missing in {len(self.refused)} place(s): "
                f"{_some(self.refused)}"
            )
        return tuple(notes)


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
