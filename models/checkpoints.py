"""The checkpoint format of compressc: a network, its architecture and how to feed it.

A file holds one dictionary of plain values and tensors, so ``torch.load(weights_only=True)`` reads
it and no code runs:

| key | value |
|---|---|
| ``format`` | ``"compressc-checkpoint-1"`` |
| ``arch`` | name in ``compressc.models.registry`` |
| ``arch_kwargs`` | arguments of the factory |
| ``input_shape`` | one example without the batch axis, as a list |
| ``normalization`` | ``{"mean": [...], "std": [...]}`` per channel, for pixels in [0, 1] |
| ``state_dict`` | tensors in float32, or float16 to halve the file |
| ``accuracy`` | share of the test split that is classified correctly, in [0, 1] |
| ``seed`` | seed of the training run |
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressc.models.registry import build

FORMAT = "compressc-checkpoint-1"


@dataclass(frozen=True)
class Normalization:
    """What turns pixels in [0, 1] into the network's input: ``(pixels - mean) / std``.

    Attributes:
        mean, std: one finite number per channel; deviations above 0.

    Raises:
        ValueError: if they are anything else.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise ValueError("mean and std must be finite numbers")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                f"{len(self.mean)} mean(s) and {len(self.std)} std(s); one per channel"
            )
        if min(self.std) <= 0:
            raise ValueError(f"a std of {min(self.std):g}; must be above 0")

    def apply(self, images: Tensor) -> Tensor:
        """Normalise images.

        Shape:
            input and output (N, C, H, W), one mean and std for each of the C channels.
        """
        shape = (1, -1, 1, 1)
        mean = images.new_tensor(self.mean).view(shape)
        std = images.new_tensor(self.std).view(shape)
        return (images - mean) / std


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network at rest; see the module for the fields."""

    arch: str
    arch_kwargs: Mapping[str, Any]
    input_shape: tuple[int, ...]
    normalization: Normalization
    state_dict: Mapping[str, Tensor]
    accuracy: float
    seed: int

    def model(self) -> nn.Module:
        """Build the network with its weights, in float32 and eval mode.

        Raises:
            ValueError: if the registry does not know the architecture.
        """
        network = build(self.arch, **self.arch_kwargs)
        network.load_state_dict(self.state_dict)
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint atomically, its floating-point tensors in ``dtype``."""
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in checkpoint.state_dict.items()
    }
    content = {
        "format": FORMAT,
        "arch": checkpoint.arch,
        "arch_kwargs": dict(checkpoint.arch_kwargs),
        "input_shape": list(checkpoint.input_shape),
        "normalization": {
            "mean": list(checkpoint.normalization.mean),
            "std": list(checkpoint.normalization.std),
        },
        "state_dict": state,
        "accuracy": checkpoint.accuracy,
        "seed": checkpoint.seed,
    }
    write_atomically(content, path)


def write_atomically(content: object, path: Path) -> None:
    """``torch.save`` to a neighbour file, then rename: a kill leaves the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this format.

    Raises:
        ValueError: if the file holds something else.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    stated = content.get("format") if isinstance(content, dict) else type(content).__name__
    if stated != FORMAT:
        raise ValueError(f"{path} is no {FORMAT} file (found {stated!r})")
    scale = content["normalization"]
    return Checkpoint(
        arch=content["arch"],
        arch_kwargs=content["arch_kwargs"],
        input_shape=tuple(content["input_shape"]),
        normalization=Normalization(tuple(scale["mean"]), tuple(scale["std"])),
        state_dict=content["state_dict"],
        accuracy=content["accuracy"],
        seed=content["seed"],
    )
