"""Makes Ctrl-C end the command in one way, wherever it strikes."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a library makes of an interruption arises at once.
_SOON_SECONDS = 2.0


class Interruption(KeyboardInterrupt):
    """Ctrl-C was pressed.

    A class of its own, because the interpreter ends with signal 2 instead of the exit code asked
    for when a plain KeyboardInterrupt has once passed through ``exec`` of a string (sympy and
    dataclasses do that at import), even if it was handled later.
    """


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interruption` at SIGINT, and also where a library made another error of it.

    An extension module whose initialisation is interrupted raises ImportError. Nothing changes
    where Ctrl-C is switched off (a job in the background) or handled by somebody else, and outside
    the main thread, which alone may set handlers.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    pressed = -math.inf

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = time.monotonic()
        raise Interruption

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        # Training may have gone on behind it.
        if time.monotonic() - pressed < _SOON_SECONDS:
            raise Interruption from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
