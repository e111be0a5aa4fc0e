"""Train a LeNet on MNIST.

``python -m compressc.models.train_mnist --data DIR --arch lenet5 --seeds 0 1 2 --output FILE``

DIR holds the four original IDX files, gzipped or not. The weights are stored in float16.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from compressc.models.augmentation import shift_by_two
from compressc.models.mnist_data import load_mnist
from compressc.models.training import Recipe
from compressc.models.training_record import (
    Job,
    add_options,
    command_line,
    report_progress,
    train_and_record,
)

RECIPES = {
    "lenet300_100": Recipe(epochs=40, learning_rate=0.05, weight_decay=1e-4),
    "lenet5": Recipe(epochs=20, learning_rate=0.05),
    "lenet5_caffe": Recipe(epochs=20, learning_rate=0.05),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every seed, test each once, write the first one's checkpoint and the record."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="train_mnist", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX files")
    parser.add_argument("--arch", choices=sorted(RECIPES), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    add_options(parser)
    options = parser.parse_args(arguments)
    report_progress()
    recipe = RECIPES[options.arch]
    try:
        job = Job(
            arch=options.arch,
            data=load_mnist(options.data),
            recipe=replace(recipe, epochs=options.epochs or recipe.epochs),
            augment=shift_by_two,
            seeds=tuple(options.seeds),
            output=options.output,
            state_dir=options.state,
            dtype=torch.float16,
        )
        train_and_record(job, command_line("compressc.models.train_mnist", arguments))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
