"""Train a CIFAR network on CIFAR-10-JPEG.

``python -m compressc.models.train_cifar --data cifar10-jpeg.tar.gz --arch resnet20 --output FILE``

Add ``--precision bfloat16`` on processors with AMX or AVX512-BF16 (three times faster there), and
``--device cuda`` where there is one. The weights are stored in float16.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from compressc.models.augmentation import shift_and_flip
from compressc.models.cifar_data import load_cifar
from compressc.models.registry import architectures
from compressc.models.training import Recipe
from compressc.models.training_record import (
    Job,
    add_options,
    command_line,
    report_progress,
    train_and_record,
)

# Without batch norm a tenth of the usual learning rate is as much as AlexNet bears.
LEARNING_RATES = {"alexnet_cifar": 0.01}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every seed, test each once, write the first one's checkpoint and the record."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="train_cifar", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder or tar archive")
    names = sorted(a.name for a in architectures().values() if a.input_shape == (3, 32, 32))
    parser.add_argument("--arch", choices=names, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    add_options(parser)
    options = parser.parse_args(arguments)
    report_progress()
    recipe = Recipe(
        epochs=options.epochs or 100,
        learning_rate=LEARNING_RATES.get(options.arch, 0.1),
        precision=options.precision,
        device=options.device,
    )
    try:
        job = Job(
            arch=options.arch,
            data=load_cifar(options.data),
            recipe=recipe,
            augment=shift_and_flip,
            seeds=tuple(options.seeds),
            output=options.output,
            state_dir=options.state,
            dtype=torch.float16,
        )
        train_and_record(job, command_line("compressc.models.train_cifar", arguments))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
