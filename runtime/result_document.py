"""Results as JSON documents that say their format, read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.plain_text import printable

Result = TypeVar("Result")

# What reading JSON and building from it raises: OverflowError for the whole number of an infinity,
# RecursionError for lists in lists.
_SHOWN = 200
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Format:
    """A kind of document.

    Attributes:
        name: with its version; the document's ``format``.
        what: it is, for people: "a profile".
        command: makes one.
    """

    name: str
    what: str
    command: str

    def read(self, text: str, build: Callable[[dict[str, Any]], Result]) -> Result:
        """Return what ``build`` makes of a document.

        Args:
            text: the JSON document, an object whose ``format`` is the name.
            build: gets the document without its format; it may fail as one does that meets a
                missing key or a value of another kind.

        Raises:
            RuntimeFailure: if the text is not such a document.
        """
        try:
            document = dict(json.loads(text))
            stated = document.pop("format")
            if stated != self.name:
                raise ValueError(f"format {stated}, not {self.name}")
            return build(document)
        except _MALFORMED as error:
            reason = printable(" ".join(str(error).split()))[:_SHOWN]
            raise RuntimeFailure(
                f"not {self.what} ({type(error).__name__}: {reason}); "
                f"make it anew with {self.command}"
            ) from error


def read_count(value: Any) -> int:
    """Return a whole number of a document, 0 or more and below 2^63.

    Raises:
        ValueError: if it is anything else.
    """
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{str(value)[:40]} is no count")
    return value


def read_time(value: Any) -> float:
    """Return a time of a document, finite and 0 or more.

    Raises:
        ValueError: if it is anything else.
    """
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise ValueError(f"{str(value)[:40]} is no time")
    return float(value)
