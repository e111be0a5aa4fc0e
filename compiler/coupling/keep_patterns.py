"""Patterns of layers that must stay: a misspelt one is an error, not a layer that leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from compressc.choices.blocks import Block
from compressc.errors import CompresscError
from compressc.layer_names import owner_of
from compressc.program import Program


def check_keep_patterns(program: Program, patterns: Iterable[str]) -> None:
    """Check that every pattern names a layer.

    Raises:
        CompresscError: naming the first pattern that matches nothing.
    """
    check_patterns(list(dict.fromkeys(map(owner_of, program.state()))), patterns)


def check_patterns(layers: Sequence[str], patterns: Iterable[str]) -> None:
    """Check that every pattern names one of these layers.

    Raises:
        CompresscError: naming the first pattern that matches nothing.
    """
    for pattern in patterns:
        if any(fnmatchcase(layer, pattern) for layer in layers):
            continue
        near = get_close_matches(pattern.rstrip(".*"), layers, n=3) or list(layers[:3])
        raise CompresscError(
            f"keep '{pattern}': matches no layer (there are {', '.join(near)}, ...); "
            "compressc inspect lists them"
        )


def pin_kept(blocks: Iterable[Block], patterns: Iterable[str]) -> tuple[Block, ...]:
    """Return the blocks; those with a layer that a pattern names are pinned."""
    listed = tuple(patterns)

    def pin(block: Block) -> Block:
        for pattern in listed:
            if any(fnmatchcase(layer, pattern) for layer in block.layers):
                return replace(block, pinned=f"kept by --keep {pattern}")
        return block

    return tuple(map(pin, blocks))
