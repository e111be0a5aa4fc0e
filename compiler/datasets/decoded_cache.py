"""Decoded archives, kept: a tar.gz of CIFAR takes a minute to decode, and a second to read."""

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
from compressc.models.training_data import Labeled

_FORMAT = 1
# Larger sets are not kept: a disk has other uses.
_LARGEST_BYTES = 2 * 2**30


def read_through_cache(
    source: Path, settings: tuple[object, ...], read: Callable[[], ImageSet]
) -> ImageSet:
    """Return what ``read`` gives, from the cache where the same archive was read before.

    The cache lies below ``$XDG_CACHE_HOME``, else ``~/.cache``; a folder there that cannot be
    written, or that is damaged, is done without.

    Args:
        source: the archive; another size or time of change makes another entry.
        settings: everything else that the result depends on.
        read: decodes the archive.
    """
    folder = _folder(source, settings)
    with contextlib.suppress(OSError, ValueError, KeyError):
        return _load(folder)
    contents = read()
    size = sum(part.images.numel() for part in contents.parts.values())
    if size <= _LARGEST_BYTES:
        with contextlib.suppress(OSError):
            _save(folder, contents)
    return contents


def _folder(source: Path, settings: tuple[object, ...]) -> Path:
    stat = source.stat()
    said = (_FORMAT, str(source.resolve()), stat.st_size, stat.st_mtime_ns, settings)
    root = os.environ.get("XDG_CACHE_HOME")
    home = Path(root) if root else Path.home() / ".cache"
    return home / "compressc" / "images" / hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def _load(folder: Path) -> ImageSet:
    document = json.loads((folder / "contents.json").read_text(encoding="utf-8"))
    parts = {}
    for number, name in enumerate(document["parts"]):
        images = np.load(folder / f"images{number}.npy", allow_pickle=False)
        labels = np.load(folder / f"labels{number}.npy", allow_pickle=False)
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise ValueError("damaged")
        parts[str(name)] = Labeled(torch.from_numpy(images), torch.from_numpy(labels))
    return ImageSet(parts, tuple(document["classes"]), tuple(document["notes"]))


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
        }
        (temporary / "contents.json").write_text(json.dumps(said), encoding="utf-8")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
