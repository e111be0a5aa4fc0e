"""The plan of a sparse graph: the integers that the engine reads from a node's attribute.

The engine checks every one of them again (``runtime/engine/native/program.cpp``): a plan in a
file is not trusted. Floats travel as their 32 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

MARK = 0x43534531  # "CSE1"


class Kind(IntEnum):
    """What an operation does."""

    CONVOLUTION = 1
    POOL = 2
    GLOBAL_AVERAGE = 3
    ADD = 4
    CONCAT = 5
    ACTIVATE = 6
    RESHAPE = 7


class Form(IntEnum):
    """How a weight is stored among the inputs of the node."""

    DENSE = 0
    MASK = 1


@dataclass(frozen=True)
class Activation:
    """A function of single numbers, applied before a result is stored.

    Attributes:
        kind: 0 none, 1 clip, 2 sigmoid, 3 SiLU, 4 hard sigmoid, 5 hard swish.
        low: lower bound of a clip.
        high: upper bound of a clip.
    """

    kind: int = 0
    low: float = 0.0
    high: float = 0.0

    @property
    def numbers(self) -> list[int]:
        """As the engine reads it."""
        return [self.kind, _bits(self.low), _bits(self.high)]


NO_ACTIVATION = Activation()
RELU = Activation(1, 0.0, float("inf"))


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pool; rows before columns. Padding is that before."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def numbers(self) -> list[int]:
        """As the engine reads it."""
        return [*self.kernel, *self.stride, *self.pad, *self.dilation]


ONE_PLACE = Window()


@dataclass
class PlanWriter:
    """Collects tensors, weights and operations, and numbers them.

    Attributes:
        tensors: (channels, height, width) of each value.
        weights: (form, first input of the node, elements) of each.
        operations: each as its integers.
    """

    tensors: list[tuple[int, int, int]] = field(default_factory=list)
    weights: list[tuple[int, int, int]] = field(default_factory=list)
    operations: list[list[int]] = field(default_factory=list)

    def add_tensor(self, sizes: Sequence[int]) -> int:
        """Return the number of a new tensor of these sizes, without the batch."""
        channels, height, width = (*sizes, 1, 1)[:3]
        self.tensors.append((channels, height, width))
        return len(self.tensors) - 1

    def add_weight(self, form: Form, first_input: int, elements: int) -> int:
        """Return the number of a new weight."""
        self.weights.append((int(form), first_input, elements))
        return len(self.weights) - 1

    def add(self, kind: Kind, inputs: Sequence[int], output: int, *numbers: int) -> None:
        """Append an operation."""
        self.operations.append([int(kind), len(inputs), *inputs, output, *numbers])

    def numbers(self, inputs: Sequence[int], outputs: Sequence[tuple[int, int]]) -> list[int]:
        """Return the whole plan.

        Args:
            inputs: tensors that the caller gives, in order.
            outputs: tensors that it takes, each with the rank of its array.
        """
        return [
            MARK,
            len(self.tensors),
            *(size for tensor in self.tensors for size in tensor),
            len(inputs),
            *inputs,
            len(outputs),
            *(number for output in outputs for number in output),
            len(self.weights),
            *(number for weight in self.weights for number in weight),
            len(self.operations),
            *(number for operation in self.operations for number in operation),
        ]


def _bits(value: float) -> int:
    number: int = struct.unpack("<i", struct.pack("<f", value))[0]
    return number
