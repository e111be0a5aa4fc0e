"""``--data``: what the model is judged and repaired on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressc.program import Program
    from compressc.task import Task


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data are."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="SOURCE",
        help="labelled images: a folder or .tar.gz with a sub-folder for each class, a folder of "
        "MNIST's IDX files, an .npz, or module:factory. Its test part judges both models in the "
        "report; passes such as calibrate and surgeon repair with its training part",
    )


def open_data(options: argparse.Namespace, program: Program) -> Task | None:
    """Return the Task that ``--data`` names, None without the option.

    The checkpoint's own normalisation is used where it has one, and images are brought to the
    size that the program reads.

    Raises:
        DataError: if the data cannot be read, or do not fit the model.
    """
    if options.data is None:
        return None
    from compressc.classification import count_classes
    from compressc.datasets.opening import open_task
    from compressc.models.checkpoints import Normalization

    found = next(
        (s.settings["normalization"] for s in program.history if "normalization" in s.settings),
        None,
    )
    shape = tuple(program.example_inputs[0].shape[1:])
    return open_task(
        options.data,
        normalization=Normalization(tuple(found["mean"]), tuple(found["std"])) if found else None,
        input_shape=(shape[0], shape[1], shape[2]) if len(shape) == 3 else None,
        class_count=count_classes(program),
        seed=options.seed,
    )
