"""Whether somebody looks on, and what they ask for by pressing Ctrl-C twice."""

from __future__ import annotations

import sys
import time

# Long enough to read a line and press a key.
_WAITS_SECONDS = 5.0


def is_watched() -> bool:
    """Return whether somebody looks on: standard error is a terminal, or a notebook's."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def is_pressed_again(offer: str) -> bool:
    """Return whether Ctrl-C is pressed once more within some seconds; False where nobody looks on.

    Args:
        offer: what a second key would do, for people.
    """
    if not is_watched():
        return False
    try:
        sys.stderr.write(f"\ninterrupted; Ctrl-C again within {_WAITS_SECONDS:g} s {offer}\n")
        sys.stderr.flush()
        time.sleep(_WAITS_SECONDS)
    except KeyboardInterrupt:
        return True
    return False
