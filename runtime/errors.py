"""The one error of the runtime."""


class RuntimeFailure(Exception):  # noqa: N818 - an error of the run time, not a RuntimeError
    """A file cannot be opened, run, counted or measured.

    The message is one line: what, where, and what to do. The runtime stands alone, so this is no
    ``CompresscError``; the command line treats the two alike and exits with ``exit_code``.
    """

    exit_code = 17
