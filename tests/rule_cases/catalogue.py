"""The table of rule cases: for every operation with a rule, a tiny graph that uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.graph_kit import Kit

# Builds outputs from a kit and the operation under test.
Build = Callable[[Kit, Any], Any]


@dataclass(frozen=True)
class Case:
    """One graph around one operation.

    Attributes:
        target: the operation.
        build: makes the graph; returns the output or a tuple of outputs.
        prunes: layers whose output channels must be free to leave.
        pins: layers whose output channels must be pinned.
        dynamic_batch: whether the batch size is a symbol, for operations that name sizes.
    """

    target: Any
    build: Build
    prunes: tuple[str, ...]
    pins: tuple[str, ...]
    dynamic_batch: bool

    @property
    def name(self) -> str:
        """Operation and case, as pytest shows them."""
        return f"{self.target}:{self.build.__name__}"


CASES: list[Case] = []


def case(
    *targets: Any,
    prunes: tuple[str, ...] = ("a",),
    pins: tuple[str, ...] = (),
    dynamic_batch: bool = False,
) -> Callable[[Build], Build]:
    """Register a graph for each of the operations."""

    def register(build: Build) -> Build:
        CASES.extend(Case(target, build, prunes, pins, dynamic_batch) for target in targets)
        return build

    return register
