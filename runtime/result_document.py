"""Results as JSON documents that say their format, read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from compressc.runtime.errors import RuntimeFailure

Result = TypeVar("Result")


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
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise RuntimeFailure(
                f"not {self.what} ({type(error).__name__}: {reason}); "
                f"make it anew with {self.command}"
            ) from error
