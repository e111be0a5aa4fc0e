"""What another library's error says, in one line that fits into one of ours."""

from __future__ import annotations

import re

_LONGEST = 300
# Colours for terminals, which torch puts into some messages.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def quote_error(error: BaseException) -> str:
    """Return the first line of an error's text that is not empty, else the name of its class."""
    lines = (line.strip() for line in _COLOURS.sub("", str(error)).splitlines())
    line = next(filter(None, lines), "")
    return line[:_LONGEST] or type(error).__name__


def name_error(error: BaseException) -> str:
    """Return the name of an error's class and, where it has a text, the text's first line."""
    name, text = type(error).__name__, quote_error(error)
    return name if text == name else f"{name}: {text}"
