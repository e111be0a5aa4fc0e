"""From a training job to a checkpoint and the JSON that says how it came about."""

import argparse
import json
import logging
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from compressc.models.augmentation import Augmentation
from compressc.models.checkpoints import Checkpoint, save_checkpoint
from compressc.models.registry import architectures, build
from compressc.models.training import Fitted, Recipe, evaluate, fit
from compressc.models.training_data import DataSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One architecture, trained from one or more seeds; the first seed's weights ship.

    Attributes:
        arch: name in the registry.
        data: the data set in three parts.
        recipe: how to train.
        augment: changes each batch of training images.
        seeds: one run each.
        output: the checkpoint; the record goes beside it, as ``.json``.
        state_dir: where unfinished runs keep their state.
        dtype: of the tensors in the checkpoint; the accuracy is that of the rounded weights.
        arch_kwargs: arguments of the factory.
    """

    arch: str
    data: DataSet
    recipe: Recipe
    augment: Augmentation
    seeds: tuple[int, ...]
    output: Path
    state_dir: Path
    dtype: torch.dtype = torch.float32
    arch_kwargs: dict[str, Any] = field(default_factory=dict)


def train_and_record(job: Job, command: str) -> None:
    """Train every seed, test each once, write the first one's checkpoint and the record of all."""
    normalization = job.data.normalization()
    runs = []
    checkpoints = []
    state_paths = [job.state_dir / f"{job.output.stem}-seed{seed}.pt" for seed in job.seeds]
    for seed, state_path in zip(job.seeds, state_paths, strict=True):
        fitted = fit(job.arch, job.arch_kwargs, job.data, job.recipe, job.augment, seed, state_path)
        model = build(job.arch, **job.arch_kwargs)
        model.load_state_dict(
            {
                k: v.to(job.dtype) if v.is_floating_point() else v
                for k, v in fitted.state_dict.items()
            }
        )
        accuracy = evaluate(model, job.data.test, normalization)
        logger.info("%s seed %d: test accuracy %.2f %%", job.arch, seed, 100 * accuracy)
        runs.append(describe_run(seed, fitted, accuracy))
        checkpoints.append(
            Checkpoint(
                arch=job.arch,
                arch_kwargs=job.arch_kwargs,
                input_shape=architectures()[job.arch].input_shape,
                normalization=normalization,
                state_dict=fitted.state_dict,
                accuracy=accuracy,
                seed=seed,
            )
        )
    save_checkpoint(checkpoints[0], job.output, job.dtype)
    record = {
        "arch": job.arch,
        "dataset": job.data.name,
        "accuracy": checkpoints[0].accuracy,
        "seed": checkpoints[0].seed,
        "epochs": job.recipe.epochs,
        "runs": runs,
        "split": {
            "train": len(job.data.train),
            "search_validation": len(job.data.val),
            "test": len(job.data.test),
            "seed": job.data.split_seed,
        },
        "recipe": {**asdict(job.recipe), "augmentation": job.augment.__name__},
        "weights_dtype": str(job.dtype).removeprefix("torch."),
        "command": command,
        "environment": describe_environment(),
    }
    partial = job.output.with_suffix(".json.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(job.output.with_suffix(".json"))
    for path in state_paths:
        path.unlink()


def describe_run(seed: int, fitted: Fitted, test_accuracy: float) -> dict[str, Any]:
    """Return the row of one seed."""
    return {
        "seed": seed,
        "test_accuracy": test_accuracy,
        "val_accuracy": fitted.val_accuracy,
        "best_epoch": fitted.best_epoch,
        "seconds": round(fitted.seconds, 1),
    }


def describe_environment() -> dict[str, Any]:
    """Return the versions and the machine a number was taken with."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every training script shares."""
    parser.add_argument("--output", type=Path, required=True, help="checkpoint to write (.pt)")
    parser.add_argument("--epochs", type=int, help="passes over the training part")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(".cache/training"),
        help="folder for the state of unfinished runs; the same command goes on from it",
    )


def command_line(module: str, arguments: Sequence[str]) -> str:
    """Return the command that repeats a run."""
    return shlex.join(["python", "-m", module, *arguments])


def report_progress() -> None:
    """Let log lines appear on standard output, plain."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
