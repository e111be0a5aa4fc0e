"""What the names of image files say: ``[part/]class/name``."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif"})
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def place_of(name: str) -> tuple[str, str] | None:
    """Return the part and the class that an image's name says; None where it is no image."""
    path = PurePosixPath(name)
    folders = path.parts[:-1]
    if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
        return None
    above = folders[-2].lower() if len(folders) > 1 else ""
    # A million names have a thousand classes.
    return PARTS.get(above, ""), sys.intern(folders[-1]) if folders else ""


def tell_classes_apart(classes: tuple[str, ...]) -> bool:
    """Return whether folders are classes: not where images lie in one, or in parts alone."""
    return len(classes) > 1 and not set(map(str.lower, classes)) <= set(PARTS)
