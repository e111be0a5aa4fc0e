"""Mutations: how a file that is right becomes one that is wrong."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

# What reading an archive raises that an earlier change damaged.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    struct.error,
)
_NUMBERS = (b"0", b"-1", b"1", b"255", b"9223372036854775807", b"1e400", b"NaN", b"99999999")
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    -8,
    99,
    2**31,
    2**63,
    10**400,
    0.5,
    float("inf"),
    float("nan"),
    "",
    "a\x1b[31m\x07\n\u202eb",
    "__import__('os').system('touch MARKER')",
    "x" * 100_000,
    [],
    {},
    [[]],
)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return content with one to four changes, inside of archives and JSON as well."""
    for _ in range(rng.randint(1, 4)):
        kinds: list[Mutation] = [_flip, _set, _cut, _drop, _repeat, _insert, _zero, _renumber]
        if content[:2] == b"PK":
            kinds += [_inside_zip] * 8
        elif content[:1] in b"{[":
            kinds += [_inside_json] * 8
        content = rng.choice(kinds)(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    # Headers stand at the beginning, tables of contents at the end.
    size = max(1, len(content))
    where = rng.random()
    if where < 0.4:
        return rng.randrange(min(size, 256))
    if where < 0.6:
        return size - 1 - rng.randrange(min(size, 256))
    return rng.randrange(size)


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[_place(content, rng)] = rng.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _drop(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    return content[:start] + content[start + rng.randint(1, 64) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    part = content[start : start + rng.randint(1, 64)]
    return content[:start] + part * rng.randint(2, 9) + content[start:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    return content[:start] + rng.randbytes(rng.randint(1, 16)) + content[start:]


def _zero(content: bytes, rng: random.Random) -> bytes:
    start, size = _place(content, rng), rng.randint(1, 32)
    return content[:start] + bytes(len(content[start : start + size])) + content[start + size :]


def _renumber(content: bytes, rng: random.Random) -> bytes:
    digits = [place for place, byte in enumerate(content[:100_000]) if 48 <= byte <= 57]
    if not digits:
        return content
    start = end = rng.choice(digits)
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:start] + rng.choice(_NUMBERS) + content[end:]


def _inside_zip(content: bytes, rng: random.Random) -> bytes:
    """Change one member and write the archive anew, with sums that are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except _DAMAGED:
        return content
    if not members:
        return content
    name = rng.choice(sorted(members))
    members[name] = mutate(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for each, member in members.items():
            archive.writestr(each, member)
    return buffer.getvalue()


def _inside_json(content: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of one value, or take it away."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = list(_places(document))
    if not places:
        return content
    owner, key = rng.choice(places)
    if rng.random() < 0.15:
        del owner[key]
    elif rng.random() < 0.05:
        owner[key] = json.loads("[" * 900 + "]" * 900)
    else:
        owner[key] = rng.choice(_VALUES)
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(entries):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
