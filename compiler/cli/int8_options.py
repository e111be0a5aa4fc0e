"""``--int8``: options that make the result an integer model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from compressc.errors import UsageError

if TYPE_CHECKING:
    from compressc.settings import Int8


def add_int8_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that quantise the ONNX file."""
    group = parser.add_argument_group("int8")
    group.add_argument(
        "--int8",
        action="store_true",
        help="quantise the ONNX file: int8 weights per channel, uint8 activations; ranges come "
        "from --int8-samples or the training part of --data, and the loss is judged beside float32",
    )
    group.add_argument(
        "--int8-samples",
        metavar="FILE.npz",
        help="real inputs to calibrate int8 on, as the model reads them: one array for each input, "
        "samples on the first axis",
    )
    group.add_argument(
        "--force-int8",
        action="store_true",
        help="quantise even where this processor has no fast int8 (VNNI, AMX, ARM dot product)",
    )


def read_int8(options: argparse.Namespace) -> Int8 | None:
    """Return how to quantise, None where it was not asked for.

    Raises:
        UsageError: if there are samples but no ``--int8``.
    """
    if not (options.int8 or options.force_int8):
        if options.int8_samples is not None:
            raise UsageError("--int8-samples is for --int8; add it, or leave both out")
        return None
    from compressc.settings import Int8

    return Int8(samples=options.int8_samples, force=options.force_int8)
