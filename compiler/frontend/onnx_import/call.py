"""Call: one node of the ONNX graph as the function of its operator sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compressc.errors import CaptureError
from compressc.frontend.onnx_import.graph import Graph, GraphNode
from compressc.frontend.onnx_import.known import Known, is_symbol

Value = Tensor | Known | None
Results = Value | tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One node with the values it is given.

    Attributes:
        node: the node.
        inputs: its values; None for those left out.
        run_graph: computes the outputs of a graph inside the node.
    """

    node: GraphNode
    inputs: tuple[Value, ...]
    run_graph: Callable[[Graph], tuple[Value, ...]]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what it is where the file does not give it."""
        return self.node.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Return whether an optional input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int = 0) -> Tensor:
        """Return an input as a tensor.

        Raises:
            CaptureError: if it is left out.
        """
        value = self.optional(index)
        if value is None:
            raise self.unsupported(f"without its input {index}")
        return value

    def optional(self, index: int) -> Tensor | None:
        """Return an input as a tensor, None where it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return value.tensor() if isinstance(value, Known) else value

    def tensors(self) -> list[Tensor]:
        """Return all inputs as tensors."""
        return [self.tensor(index) for index in range(len(self.inputs))]

    def operands(self) -> list[Any]:
        """Return the inputs of a broadcasting operator: tensors, and numbers where they suffice.

        A single known number beside a tensor of its type need not be a tensor.
        """
        rank = max((v.dim() for v in self.inputs if isinstance(v, Tensor)), default=0)
        operands: list[Any] = []
        for index, value in enumerate(self.inputs):
            if isinstance(value, Known) and value.numbers.size == 1 and value.numbers.ndim <= rank:
                operands.append(value.numbers.reshape(-1)[0])
                if not is_symbol(operands[-1]):
                    operands[-1] = operands[-1].item()
            else:
                operands.append(self.optional(index))
        return operands

    def known(self, index: int) -> NDArray[Any] | None:
        """Return the numbers of an input, None where they are not known or it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return value.numbers if isinstance(value, Known) else None

    def numbers(self, index: int, what: str) -> list[Any]:
        """Return the numbers of an input that has to be known.

        Args:
            index: of the input.
            what: the user reads about it, such as "axes".

        Raises:
            CaptureError: if they depend on the data.
        """
        array = self.known(index)
        if array is None:
            raise self.unsupported(f"with {what} that are computed from the data")
        return [e if is_symbol(e) else _plain(e) for e in array.reshape(-1)]

    def setting(self, name: str, index: int, default: Any = None) -> Any:
        """Return a list that newer operator sets take as an input, older ones as an attribute.

        Raises:
            CaptureError: if it depends on the data.
        """
        if self.has(index):
            return self.numbers(index, name)
        return self.attribute(name, default)

    def unsupported(self, how: str) -> CaptureError:
        """Return the error that says which node cannot be converted, and why."""
        return CaptureError(
            f"{self.node} {how} cannot be converted; hand over the PyTorch model, or cut the file "
            "before it (onnx.utils.extract_model)"
        )


def _plain(entry: Any) -> Any:
    return entry.item() if isinstance(entry, np.generic) else entry


def positive_axes(axes: Sequence[int], rank: int) -> list[int]:
    """Return axes counted from the front."""
    return [int(axis) + rank if axis < 0 else int(axis) for axis in axes]
