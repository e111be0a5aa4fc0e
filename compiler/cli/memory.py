"""Telling that the machine's memory ended, in whose words ever it is said."""

from __future__ import annotations

import errno

# How torch, ONNX Runtime, the C++ library, the loader of libraries and threads say MemoryError.
_SAYINGS = (
    "allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to map segment",
    "can't start new thread",
    "out of memory",
)


def memory_ended(error: BaseException) -> bool:
    """Return whether an error, or an error behind it, says that no memory was left."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, MemoryError):
            return True
        if isinstance(link, OSError) and link.errno == errno.ENOMEM:
            return True
        text = str(link).casefold()
        if any(saying in text for saying in _SAYINGS):
            return True
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return False
