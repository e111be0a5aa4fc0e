"""The space of SMASH: layers that read some memory banks and write to some."""

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
from compressc.passes.scas.spaces.blocks import Head, convolution, reduction_places, separable
from compressc.pictures import ArchitecturePicture

_LABELS = ("conv 3x3", "conv 5x5", "separable 3x3", "dilated 3x3")
# Every set of banks is a candidate, and there are 2^banks - 1 of them.
_MOST_BANKS = 4


class Smash(SearchSpace):
    """Layers between memory banks: which banks one reads, what it computes, where it adds it.

    Source:
        Brock et al., SMASH: One-Shot Model Architecture Search through HyperNetworks, ICLR 2018,
        section 3.1.

    Deviations:
        Banks have the same number of channels and last through the network; a reduction is an
        average of 2x2 positions of every bank. A layer has one operation. ``nodes`` is the number
        of banks.
    """

    name: ClassVar[str] = "smash"
    controller: ClassVar[str] = "hypernet"

    def build(self, size: SpaceSize, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the supernet.

        Raises:
            SpaceError: if there are too few layers, or too many banks.
        """
        if size.layers <= self.reductions:
            raise SpaceError(
                f"{self.name} needs more than {self.reductions} layers to halve images between; "
                f"--layers {size.layers} is too few"
            )
        if size.nodes > _MOST_BANKS:
            raise SpaceError(
                f"{self.name} has at most {_MOST_BANKS} memory banks; --nodes {size.nodes} is too "
                "many"
            )
        return _BankNet(size, input_shape[0], classes, self.reductions)

    def encode(
        self, choices: Sequence[Choice], choice: Mapping[str, int]
    ) -> Sequence[Sequence[Sequence[float]]]:
        """Return which banks each layer reads and writes, and what it computes.

        Returns:
            Numbers of shape (2 + operations, layers, banks): read, written, and the operation in
            one column after the other.
        """
        layers, banks = _count(choices)
        sets = _sets(banks)
        read, written = (
            [
                [float(bank in sets[choice[f"layer{layer}/{what}"]]) for bank in range(banks)]
                for layer in range(layers)
            ]
            for what in ("read", "write")
        )
        operations = [
            [[float(choice[f"layer{layer}/operation"] == place)] * banks for layer in range(layers)]
            for place in range(len(_LABELS))
        ]
        return [read, written, *operations]

    def draw(
        self, choices: Sequence[Choice], choice: Mapping[str, int]
    ) -> tuple[ArchitecturePicture, ...]:
        """Return the picture of the layers, with an arrow for each bank that one hands on."""
        layers, banks = _count(choices)
        nodes, edges = [("stem", "image")], []
        holders: list[list[str]] = [["stem"] for _ in range(banks)]
        for layer in range(layers):
            label = _LABELS[choice[f"layer{layer}/operation"]]
            name = f"layer{layer}"
            nodes.append((name, f"{layer + 1}: {label}"))
            sources: dict[str, list[str]] = {}
            for bank in _sets(banks)[choice[f"{name}/read"]]:
                for holder in holders[bank]:
                    sources.setdefault(holder, []).append(f"{bank + 1}")
            edges += [(source, name, f"bank {', '.join(b)}") for source, b in sources.items()]
            for bank in _sets(banks)[choice[f"{name}/write"]]:
                holders[bank] = [*holders[bank], name]
        nodes.append(("head", "classes"))
        last = dict.fromkeys(holder for bank in holders for holder in bank)
        edges += [(holder, "head", "") for holder in last]
        return (ArchitecturePicture("layers and banks", tuple(nodes), tuple(edges)),)


def _sets(banks: int) -> list[tuple[int, ...]]:
    """Return every set of banks but the empty one, in the order of the candidates."""
    return [tuple(bank for bank in range(banks) if code >> bank & 1) for code in range(1, 2**banks)]


def _count(choices: Sequence[Choice]) -> tuple[int, int]:
    """Return the number of layers and of banks."""
    reads = [entry.count for entry in choices if entry.name.endswith("/read")]
    return len(reads), (reads[0] + 1).bit_length() - 1


class _BankNet(nn.Module):
    def __init__(self, size: SpaceSize, inputs: int, classes: int, reductions: int) -> None:
        super().__init__()
        self.stem = convolution(inputs, size.channels, 3, stride=size.stem_stride)
        self.banks = nn.ModuleList(
            convolution(size.channels, size.channels, 1) for _ in range(size.nodes)
        )
        self.layers = nn.ModuleList(_Layer(size.channels, size.nodes) for _ in range(size.layers))
        self.places = reduction_places(size.layers, reductions)
        self.head = Head(size.channels * size.nodes, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        banks = [bank(x) for bank in self.banks]
        for number, layer in enumerate(self.layers):
            if number in self.places:
                banks = [F.avg_pool2d(bank, 2) for bank in banks]
            banks = layer(banks, f"layer{number}")
        logits: Tensor = self.head(torch.cat(banks, 1))
        return logits


class _Layer(nn.Module):
    def __init__(self, channels: int, banks: int) -> None:
        super().__init__()
        self.reads = nn.ModuleList(
            nn.Conv2d(channels, channels, 1, bias=False) for _ in range(banks)
        )
        self.norm = nn.BatchNorm2d(channels)
        self.operations = nn.ModuleList(
            [
                convolution(channels, channels, 3),
                convolution(channels, channels, 5),
                separable(channels, 3),
                separable(channels, 3, dilation=2),
            ]
        )

    def forward(self, banks: Sequence[Tensor], name: str) -> list[Tensor]:
        """Return the banks behind this layer."""
        sets = _sets(len(banks))
        seen = [read(bank) for read, bank in zip(self.reads, banks, strict=True)]
        read = choose([_total([seen[bank] for bank in each]) for each in sets], f"{name}/read")
        read = torch.relu(self.norm(read))
        value = choose([each(read) for each in self.operations], f"{name}/operation")
        written = [bank + value for bank in banks]
        return [
            choose([written[place] if place in each else bank for each in sets], f"{name}/write")
            for place, bank in enumerate(banks)
        ]


def _total(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
