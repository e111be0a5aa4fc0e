"""The macro space of ENAS: an operation for every layer, and skip connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressc.choices.branches import Choice
from compressc.choices.operation import choose
from compressc.choices.space import SearchSpace, SpaceSize
from compressc.errors import SpaceError
from compressc.passes.scas.spaces.blocks import (
    Head,
    average_pool,
    convolution,
    max_pool,
    reduction_places,
    separable,
)
from compressc.pictures import ArchitecturePicture

_LABELS = ("conv 3x3", "conv 5x5", "separable 3x3", "separable 5x5", "average pool", "max pool")


class EnasMacro(SearchSpace):
    """Layers that each are one of six operations, with a skip from every earlier layer or not.

    Source:
        Pham et al., Efficient Neural Architecture Search via Parameter Sharing, ICML 2018,
        section 2.3.

    Deviations:
        Channel counts stay the same behind a reduction, and a reduction is an average of 2x2
        positions of every layer so far, without weights.
    """

    name: ClassVar[str] = "enas-macro"

    def build(self, size: SpaceSize, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the supernet.

        Raises:
            SpaceError: if there are too few layers to reduce between.
        """
        if size.layers <= self.reductions:
            raise SpaceError(
                f"{self.name} needs more than {self.reductions} layers to halve images between; "
                f"--layers {size.layers} is too few"
            )
        return _MacroNet(size, input_shape[0], classes, self.reductions)

    def draw(
        self, choices: Sequence[Choice], choice: Mapping[str, int]
    ) -> tuple[ArchitecturePicture, ...]:
        """Return the picture of the layers and their skip connections."""
        layers = sum(entry.name.endswith("/operation") for entry in choices)
        nodes = [("stem", "image")]
        edges = []
        for layer in range(layers):
            label = _LABELS[choice[f"layer{layer}/operation"]]
            nodes.append((f"layer{layer}", f"{layer + 1}: {label}"))
            edges.append((nodes[-2][0], f"layer{layer}", ""))
            for earlier in range(layer):
                if choice[f"layer{layer}/skip{earlier}"]:
                    source = f"layer{earlier - 1}" if earlier else "stem"
                    edges.append((source, f"layer{layer}", "skip"))
        nodes.append(("head", "classes"))
        edges.append((nodes[-2][0], "head", ""))
        return (ArchitecturePicture("layers", tuple(nodes), tuple(edges)),)


class _MacroNet(nn.Module):
    def __init__(self, size: SpaceSize, inputs: int, classes: int, reductions: int) -> None:
        super().__init__()
        self.stem = convolution(inputs, size.channels, 3, stride=size.stem_stride)
        self.layers = nn.ModuleList(_Layer(size.channels) for _ in range(size.layers))
        self.places = reduction_places(size.layers, reductions)
        self.head = Head(size.channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.stem(x)]
        for number, layer in enumerate(self.layers):
            if number in self.places:
                outputs = [F.avg_pool2d(value, 2) for value in outputs]
            outputs.append(layer(outputs, f"layer{number}"))
        logits: Tensor = self.head(outputs[-1])
        return logits


class _Layer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(
            [
                convolution(channels, channels, 3),
                convolution(channels, channels, 5),
                separable(channels, 3),
                separable(channels, 5),
                average_pool(),
                max_pool(),
            ]
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, outputs: Sequence[Tensor], name: str) -> Tensor:
        """Return the output of a layer, given those of all before it, the image's first."""
        value = choose([each(outputs[-1]) for each in self.operations], f"{name}/operation")
        for number, earlier in enumerate(outputs[:-1]):
            skip = choose([torch.zeros_like(earlier), earlier], f"{name}/skip{number}")
            value = value + skip
        normed: Tensor = self.norm(value)
        return normed
