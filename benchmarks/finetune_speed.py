"""Images per second of finetune against a plain PyTorch loop on the same model and batches.

Claim: at least 0.97 of the plain loop, and training is not bound by its input. Each round trains a
ResNet-20 for one epoch of CIFAR-shaped images twice, by ``finetune`` (all that an epoch does but
judging) and by a loop as people write it (the model's own class, channels_last, autocast, SGD with
Nesterov momentum, a learning rate per step), in turns; the ratio is that of the round, so that a
busy machine disturbs both. ``loading`` is an epoch of batches, augmented, without training.

    python benchmarks/finetune_speed.py --threads 2 --rounds 15
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from kit.precisions import measure_precisions
from kit.turns import Seconds, Stopwatch, median_seconds, summarize_ratios, take_turns
from torch import Tensor, nn

import compressc
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.models.augmentation import flip, shift
from compressc.models.checkpoints import Normalization
from compressc.models.registry import build
from compressc.models.training_data import DataSet, Labeled
from compressc.passes.finetune import Finetune
from compressc.tasks.classification import ClassificationTask
from compressc.tasks.protocol import Batch

RATE = 0.01


def shift_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    return flip(shift(images, generator, 4), generator)


@dataclass
class TimedTask:
    """A task that notes how long each walk through its training batches takes."""

    task: ClassificationTask
    metric_name: str = "none"
    walks: list[Seconds] = field(default_factory=list)

    def train_batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """Yield the training batches; time is taken when the last one has been worked on."""
        watch = Stopwatch()
        yield from self.task.train_batches(epoch, seed)
        self.walks.append(watch.read())

    def time_walk(self, call: Callable[[], object]) -> Seconds:
        """Return what the one walk in a call took."""
        self.walks.clear()
        call()
        (taken,) = self.walks
        return taken

    def validate(self, _module: nn.Module) -> float:
        """Judge nothing."""
        return 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def make_task(images: int, batch_size: int) -> TimedTask:
    generator = torch.Generator().manual_seed(0)
    part = Labeled(
        torch.randint(0, 256, (images, 3, 32, 32), generator=generator, dtype=torch.uint8),
        torch.randint(0, 10, (images,), generator=generator),
    )
    normalization = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    classes = tuple(map(str, range(10)))
    data = DataSet("random", part, part, part, 0)
    return TimedTask(ClassificationTask(data, classes, normalization, shift_and_flip, batch_size))


def train_plainly(model: nn.Module, task: TimedTask, bfloat16: bool, steps: int) -> None:
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for (images,), labels in task.train_batches(0, 0):
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = model(images)
        loss = F.cross_entropy(outputs.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule.last_epoch < steps - 1:
            schedule.step()


def compare(precision: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    model = build(options.arch).eval()
    program = compressc.capture(model, (torch.randn(2, 3, 32, 32),))
    task = make_task(options.images, options.batch_size)
    steps = len(list(task.train_batches(0, 0)))
    ours = partial(
        Finetune(epochs=1, learning_rate=RATE, precision=precision),
        program,
        Context(Goal(), task),
    )
    plain = partial(train_plainly, model, task, precision == "bfloat16", steps)
    calls: dict[str, Callable[[], object]] = {
        "loading": lambda: sum(1 for _ in task.train_batches(0, 0)),
        "finetune": ours,
        "plain loop": plain,
    }
    runs = {name: partial(task.time_walk, call) for name, call in calls.items()}
    times = take_turns(runs, options.rounds, warmup=1)
    medians = {name: median_seconds(taken) for name, taken in times.items()}
    return {
        "precision": precision,
        "rounds": options.rounds,
        "images_per_second": {
            name: round(options.images / median, 1) for name, median in medians.items()
        },
        **summarize_ratios("finetune_by_plain_loop", times["plain loop"], times["finetune"]),
        "loading_by_finetune": round(medians["finetune"] / medians["loading"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128 * 40)
    parser.add_argument("--rounds", type=int, default=15)
    measure_precisions(parser, compare, settings=("rounds", "images"), threads=2)


if __name__ == "__main__":
    main()
