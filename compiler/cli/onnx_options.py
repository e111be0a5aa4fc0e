"""Options of the commands that run ONNX files; they need no torch."""

from __future__ import annotations

import argparse

from compressc.errors import UsageError


def add_shape_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--shape``, read by :func:`read_shapes`."""
    parser.add_argument(
        "--shape",
        metavar="NAME=SIZES",
        action="append",
        default=[],
        help="size of a symbolic axis, or shape of an input: height=640, image=1x3x640x640",
    )


def read_shapes(options: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """Return the sizes given with ``--shape``.

    Raises:
        UsageError: if one is not NAME=SIZES.
    """
    return dict(_read_shape(text) for text in options.shape)


def _read_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.partition("=")
    numbers = sizes.replace(",", "x").split("x")
    if (
        not name
        or not equals
        or not all(number.isascii() and number.isdecimal() for number in numbers)
    ):
        raise UsageError(f"--shape '{text}': write NAME=SIZES, such as image=1x3x640x640")
    return name, tuple(int(number) for number in numbers)
