"""Train the digits network: ``python -m compressc.models.train_digits --output FILE``.

Takes about a minute on two cores; needs scikit-learn (``pip install 'compressc[demo]'``).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from compressc.models.augmentation import shift_by_one
from compressc.models.digits_data import digits_split
from compressc.models.training import Recipe
from compressc.models.training_data import DataSet, Labeled
from compressc.models.training_record import (
    Job,
    add_options,
    command_line,
    report_progress,
    train_and_record,
)

RECIPE = Recipe(epochs=40, learning_rate=0.1, batch_size=64, label_smoothing=0.1)
SPLIT_SEED = 0


def load_digits_data() -> DataSet:
    """Return the digits in three parts.

    Raises:
        ImportError: if scikit-learn is missing.
    """
    split = digits_split(SPLIT_SEED)
    parts = (
        (split.train_images, split.train_labels),
        (split.val_images, split.val_labels),
        (split.test_images, split.test_labels),
    )
    train, val, test = (
        Labeled(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in parts
    )
    return DataSet("scikit-learn digits", train, val, test, SPLIT_SEED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, test once, write the checkpoint and its record."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="train_digits", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    add_options(parser)
    options = parser.parse_args(arguments)
    report_progress()
    try:
        job = Job(
            arch="digits_resnet",
            data=load_digits_data(),
            recipe=replace(RECIPE, epochs=options.epochs or RECIPE.epochs),
            augment=shift_by_one,
            seeds=(options.seed,),
            output=options.output,
            state_dir=options.state,
        )
        train_and_record(job, command_line("compressc.models.train_digits", arguments))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
