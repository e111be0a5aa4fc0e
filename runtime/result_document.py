"""Results read back from JSON documents that say their format."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from compressc.runtime.errors import RuntimeFailure

Result = TypeVar("Result")


def read_document(
    text: str,
    build: Callable[[dict[str, Any]], Result],
    *,
    form: str,
    what: str,
    command: str,
) -> Result:
    """Return what ``build`` makes of a document.

    Args:
        text: the JSON document, an object whose ``format`` is ``form``.
        build: gets the document without its format; it may fail as one does that meets a missing
            key or a value of another kind.
        form: the name of the format and its version.
        what: the document should be, for people: "a profile".
        command: makes a new one.

    Raises:
        RuntimeFailure: if the text is not such a document.
    """
    try:
        document = dict(json.loads(text))
        found = document.pop("format")
        if found != form:
            raise ValueError(f"format {found}, not {form}")
        return build(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RuntimeFailure(
            f"not {what} ({type(error).__name__}: {reason}); make it anew with {command}"
        ) from error
