"""``--data``: what the model is judged and repaired on."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from compressc.errors import UsageError

if TYPE_CHECKING:
    from compressc.models.checkpoints import Normalization
    from compressc.program import Program
    from compressc.settings import Repair
    from compressc.tasks.protocol import Task

# What --data says where there are none.
SYNTHETIC = "synthetic"


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data are."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="SOURCE",
        help="images: a folder or .tar.gz with a sub-folder for each class, a folder of MNIST's "
        "IDX files, an .npz, hf:NAME (in the cache of Hugging Face datasets), or module:factory. "
        "Its test part judges both models in the report; "
        "passes such as calibrate and surgeon repair with its training part. Images without class "
        "folders and an .npz of inputs alone serve all but those that learn from labels, and the "
        "report tells how far both models agree. 'synthetic' (the default where something is to "
        "leave): inputs made from what the model's batch norms remember of its training data",
    )
    group.add_argument(
        "--train-batch",
        metavar="N",
        type=int,
        default=128,
        help="samples in a batch of --data, for training and evaluation (default 128)",
    )
    group.add_argument(
        "--no-repair",
        action="store_true",
        help="without --data: make no inputs, repair nothing; channels leave by the size of their "
        "weights, and little is left of most models until they are trained on",
    )
    group.add_argument(
        "--repair-seconds",
        metavar="S",
        type=float,
        help="what repair may take: making synthetic inputs, and the gradient steps of the default "
        "recipe (default: 300 for the making, and all steps; most models need less)",
    )
    group.add_argument(
        "--mean",
        metavar="M,M,M",
        type=_numbers,
        help="what is subtracted from pixels in [0, 1], per channel, as the model was trained: "
        "0.485,0.456,0.406; without it the checkpoint's own, else that of the training images",
    )
    group.add_argument(
        "--std",
        metavar="S,S,S",
        type=_numbers,
        help="what they are divided by then: 0.229,0.224,0.225",
    )


def open_data(options: argparse.Namespace, program: Program) -> Task | None:
    """Return the Task that ``--data`` names, None without the option.

    Without ``--mean`` the checkpoint's own normalisation is used where it has one. Images are
    brought to the size that the program reads.

    Raises:
        DataError: if the data cannot be read, or do not fit the model.
        UsageError: if the normalisation is not whole or does not fit the model.
    """
    if options.data in (None, SYNTHETIC):
        if options.mean is not None or options.std is not None:
            raise UsageError("--mean and --std say how to read --data; give that as well")
        return None
    if options.train_batch < 1:
        raise UsageError(f"--train-batch {options.train_batch}: must be 1 or more")
    from compressc.datasets.opening import open_task
    from compressc.plan import Plan
    from compressc.tasks.classification import count_classes

    shape = tuple(program.example_inputs[0].shape[1:])
    return open_task(
        options.data,
        normalization=_normalization(options, program, shape[0]),
        input_shape=(shape[0], shape[1], shape[2]) if len(shape) == 3 else None,
        class_count=count_classes(program),
        batch_size=options.train_batch,
        seed=options.seed,
        original=replace(program, plan=Plan()),
    )


def read_repair(options: argparse.Namespace, wants_samples: bool) -> Repair:
    """Return what stands in for data.

    Args:
        options: of a parser with the options above.
        wants_samples: whether the default recipe needs samples.

    Raises:
        UsageError: if synthetic inputs are both asked for and forbidden.
        GoalError: if the time for them makes no sense.
    """
    from compressc.settings import Repair

    if options.data == SYNTHETIC:
        if options.no_repair:
            raise UsageError("--no-repair and --data synthetic contradict each other; give one")
        return Repair("always", options.repair_seconds)
    makes = options.data is None and wants_samples and not options.no_repair
    return Repair("always" if makes else "never", options.repair_seconds)


def _normalization(
    options: argparse.Namespace, program: Program, channels: int
) -> Normalization | None:
    from compressc.frontend.stated_normalization import normalization_of
    from compressc.models.checkpoints import Normalization

    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std belong together; give both")
    if options.mean is not None:
        for flag, values in (("--mean", options.mean), ("--std", options.std)):
            if len(values) != channels:
                raise UsageError(
                    f"{flag}: {len(values)} number(s) for the {channels} channel(s) that the model "
                    "reads; give one for each"
                )
        if min(options.std) <= 0:
            raise UsageError("--std: must be above 0")
        return Normalization(options.mean, options.std)
    return normalization_of(program)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"'{text}': give numbers, such as 0.485,0.456,0.406")
    return values
