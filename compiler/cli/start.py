"""The start of the command: what happens before there is anything to interrupt in order.

Until ``main`` has begun, Ctrl-C ends the process at once, as it ends any program; an interpreter
that is still importing would print where.
"""

import signal
import threading

_EARLY = (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
)
if _EARLY:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from compressc.cli.main import main  # noqa: E402 - behind the line above on purpose


def start() -> int:
    """Run the command line of this process and return its exit code."""
    if _EARLY:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return main()
