"""Reading results back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.result_document import Format


def read(text: str) -> Any:
    counts = Format("ours-2", "a count", "compressc count")
    return counts.read(text, lambda document: {**document, "count": int(document["count"])})


def test_a_document_is_built_without_its_format() -> None:
    assert read(json.dumps({"format": "ours-2", "count": "3"})) == {"count": 3}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSONDecodeError"),
        ("null", "TypeError"),
        ("[]", "KeyError: 'format'"),
        ('{"count": 3}', "KeyError: 'format'"),
        ('{"format": "ours-1", "count": 3}', "ValueError: format ours-1, not ours-2"),
        ('{"format": "ours-2"}', "KeyError: 'count'"),
        ('{"format": "ours-2", "count": []}', "TypeError"),
        ('{"format": "ours-2", "count": "a\\nb"}', "ValueError"),
    ],
)
def test_anything_else_is_one_line_that_says_what_to_do(text: str, reason: str) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith(f"not a count ({reason}")
    assert message.endswith("; make it anew with compressc count")
    assert "\n" not in message
