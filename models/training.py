"""Plain supervised training that survives ``kill -9``.

Every epoch ends with an atomic write of the whole state, and everything random in an epoch is drawn
from the seed and the number of that epoch. So a run that was killed and started again goes on from
its last epoch and ends with the same weights, bit for bit on a CPU with the same thread count.
"""

import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from compressc.models.augmentation import Augmentation
from compressc.models.checkpoints import Normalization, write_atomically
from compressc.models.registry import build
from compressc.models.training_data import DataSet, Labeled, as_pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum, warm-up and a cosine to zero.

    Attributes:
        epochs: passes over the training part.
        learning_rate: the highest one, reached after the warm-up.
        batch_size: images per step; an incomplete last batch is left out.
        weight_decay: on matrices and convolution kernels only.
        label_smoothing: share of the target spread over all classes.
        warmup_share: part of all steps in which the learning rate rises.
        precision: "float32", or "bfloat16" for autocast.
        device: where to train, "cpu" or "cuda".
    """

    epochs: int
    learning_rate: float = 0.1
    batch_size: int = 128
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    warmup_share: float = 0.1
    precision: str = "float32"
    device: str = "cpu"

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step out of ``steps``."""
        warmup = max(1, round(self.warmup_share * steps))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return (
            self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        )


@dataclass(frozen=True, eq=False)
class Fitted:
    """The epoch that was best on search-validation (the latest of equals), and its weights."""

    state_dict: Mapping[str, Tensor]
    val_accuracy: float
    best_epoch: int
    seconds: float


def fit(
    arch: str,
    arch_kwargs: Mapping[str, Any],
    data: DataSet,
    recipe: Recipe,
    augment: Augmentation,
    seed: int,
    state_path: Path,
) -> Fitted:
    """Train a freshly built network; the test part is not touched.

    Args:
        arch: name in the registry.
        arch_kwargs: arguments of its factory.
        data: train and search-validation parts are used.
        recipe: how to train.
        augment: changes each batch of training images before normalisation.
        seed: decides the initial weights, the order and the augmentation.
        state_path: file that holds the state after each epoch; if it exists, training goes on
            from it.

    Raises:
        ValueError: if the state file belongs to another run, or the loss is no longer finite
            (the state file then keeps the last good epoch), or there is not one batch of images.
    """
    if len(data.train) < recipe.batch_size:
        raise ValueError(
            f"{data.name} has {len(data.train)} images to train on, fewer than a batch of "
            f"{recipe.batch_size} images"
        )
    device = torch.device(recipe.device)
    torch.manual_seed(seed)
    model = build(arch, **arch_kwargs).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = make_optimizer(model, recipe)
    normalization = data.normalization()
    train, val = data.train.to(device), data.val.to(device)
    identity = json.dumps([arch, dict(arch_kwargs), asdict(recipe), seed, data.name, len(train)])
    state: dict[str, Any] = {"epoch": 0, "val_accuracy": -1.0, "seconds": 0.0}
    if state_path.is_file():
        state = torch.load(state_path, map_location=device, weights_only=True)
        if state["identity"] != identity:
            raise ValueError(f"{state_path} is the state of another run; delete it to start anew")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        logger.info("%s seed %d: going on after epoch %d", arch, seed, state["epoch"])

    for epoch in range(state["epoch"], recipe.epochs):
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        torch.manual_seed(1_000_003 * seed + epoch)
        loss = train_one_epoch(
            model, optimizer, train, recipe, augment, normalization, generator, epoch
        )
        if not math.isfinite(loss):
            raise ValueError(
                f"{arch} seed {seed}: the loss is {loss} in epoch {epoch + 1}; lower the learning "
                f"rate ({recipe.learning_rate})"
            )
        accuracy = evaluate(model, val, normalization)
        seconds = time.perf_counter() - started
        if accuracy >= state["val_accuracy"]:
            best = {name: value.clone() for name, value in model.state_dict().items()}
            state |= {"best": best, "val_accuracy": accuracy, "best_epoch": epoch + 1}
        state |= {
            "identity": identity,
            "epoch": epoch + 1,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "seconds": state["seconds"] + seconds,
        }
        write_atomically(state, state_path)
        logger.info(
            "%s seed %d epoch %d/%d: loss %.4f, search-validation %.2f %%, %.1f s, %.0f s left",
            *(arch, seed, epoch + 1, recipe.epochs, loss, 100 * accuracy, seconds),
            seconds * (recipe.epochs - epoch - 1),
        )
    best = {name: value.cpu().contiguous() for name, value in state["best"].items()}
    return Fitted(best, state["val_accuracy"], state["best_epoch"], state["seconds"])


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD that decays matrices and kernels, but neither biases nor batch norms."""
    parameters = list(model.parameters())
    return torch.optim.SGD(
        [
            {
                "params": [p for p in parameters if p.dim() > 1],
                "weight_decay": recipe.weight_decay,
            },
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
    )


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Labeled,
    recipe: Recipe,
    augment: Augmentation,
    normalization: Normalization,
    generator: Generator,
    epoch: int,
) -> float:
    """Run one pass over the training part and return the mean loss."""
    model.train()
    order = torch.randperm(len(train), generator=generator).to(train.labels.device)
    steps_per_epoch = len(train) // recipe.batch_size
    total = 0.0
    for step in range(steps_per_epoch):
        batch = train.take(order[step * recipe.batch_size :][: recipe.batch_size])
        images = normalization.apply(as_pixels(augment(batch.images, generator)))
        rate = recipe.rate_at(epoch * steps_per_epoch + step, recipe.epochs * steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(
            images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"
        ):
            logits = model(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.item()
    return total / steps_per_epoch


def evaluate(model: nn.Module, examples: Labeled, normalization: Normalization) -> float:
    """Return the share of examples classified correctly, in float32 and eval mode."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(examples), 500):
            images = examples.images[start : start + 500]
            predicted = model(normalization.apply(as_pixels(images))).argmax(1)
            correct += int((predicted == examples.labels[start : start + 500]).sum())
    return correct / len(examples)
