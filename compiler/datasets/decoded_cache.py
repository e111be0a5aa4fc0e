"""Decoded pictures, kept: a tar.gz of CIFAR takes half a minute to decode, and a second to read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from compressc.datasets.image_files import ImageSet
from compressc.datasets.picture_sources import PictureSource
from compressc.models.training_data import Labeled
from compressc.runtime.budgets import Budget

CACHE = Budget("COMPRESSC_CACHE_GB", 10.0, "gigabytes")
_FORMAT = 2
_GIGA = 10**9


def read_through_cache(
    source: PictureSource, settings: tuple[object, ...], read: Callable[[], ImageSet]
) -> ImageSet:
    """Return what ``read`` gives, from the cache where the same pictures were read before.

    The cache lies below ``$XDG_CACHE_HOME``, else ``~/.cache``; a folder there that cannot be
    written, or that is damaged, is done without. Over ``COMPRESSC_CACHE_GB`` (10) the sets that
    have not been used for longest leave; a larger set is not kept.

    Args:
        source: the pictures; other names, sizes or times of change make another entry.
        settings: everything else that the result depends on.
        read: decodes them.
    """
    said = repr((_FORMAT, source.name, source.identity(), settings))
    folder = _home() / hashlib.sha256(said.encode(errors="replace")).hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError, KeyError):
        contents = _load(folder)
        os.utime(folder)
        return contents
    contents = read()
    size = sum(part.images.nbytes for part in contents.parts.values())
    if size <= CACHE.limit() * _GIGA:
        with contextlib.suppress(OSError):
            _save(folder, contents)
            _make_room(folder)
    return contents


def _home() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    home = Path(root) if root else Path.home() / ".cache"
    return home / "compressc" / "images"


def _make_room(newest: Path) -> None:
    """Remove what has not been used for longest, until the rest is within the limit."""
    entries = [entry for entry in newest.parent.iterdir() if entry.is_dir() and entry != newest]
    taken = _size(newest)
    for entry in sorted(entries, key=lambda entry: -entry.stat().st_mtime):
        taken += _size(entry)
        if taken > CACHE.limit() * _GIGA:
            shutil.rmtree(entry, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _load(folder: Path) -> ImageSet:
    document = json.loads((folder / "contents.json").read_text(encoding="utf-8"))
    parts = {}
    for number, name in enumerate(document["parts"]):
        images = np.load(folder / f"images{number}.npy", allow_pickle=False)
        labels = np.load(folder / f"labels{number}.npy", allow_pickle=False)
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise ValueError("damaged")
        parts[str(name)] = Labeled(torch.from_numpy(images), torch.from_numpy(labels))
    classes, notes = tuple(document["classes"]), tuple(document["notes"])
    return ImageSet(parts, classes, notes, bool(document["has_labels"]))


def _save(folder: Path, contents: ImageSet) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for number, part in enumerate(contents.parts.values()):
            np.save(temporary / f"images{number}.npy", part.images.numpy())
            np.save(temporary / f"labels{number}.npy", part.labels.numpy())
        said = {
            "parts": list(contents.parts),
            "classes": list(contents.classes),
            "notes": list(contents.notes),
            "has_labels": contents.has_labels,
        }
        (temporary / "contents.json").write_text(json.dumps(said), encoding="utf-8")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
