"""An ONNX graph as the translation sees it: who makes and reads each value, shapes, constants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from compressc.runtime.onnx_shapes import (
    KnownShapes,
    freeze_inputs,
    infer,
    known_shapes,
    stripped_copy,
)

# Shapes are inferred for this many samples: an axis of this size, at the front, is the batch.
_BATCH = 8191


@dataclass(frozen=True)
class GraphView:
    """A model of plain nodes, without functions or control flow around them.

    Attributes:
        model: the model; not changed.
    """

    model: onnx.ModelProto

    @cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each value."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that read each value, once per input."""
        result: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                if name:
                    result.setdefault(name, []).append(node)
        return result

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Values that leave the graph."""
        return frozenset(value.name for value in self.model.graph.output)

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Constant tensors by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each value is read, outputs of the graph included."""
        counts = Counter({name: len(nodes) for name, nodes in self.readers.items()})
        counts.update(self.outputs)
        return counts

    @cached_property
    def shapes(self) -> KnownShapes:
        """Shapes at a batch that no other axis has by chance."""
        light = stripped_copy(self.model)
        freeze_inputs(light, _BATCH, None)
        return known_shapes(infer(light, "the model").graph)

    def sample_sizes(self, name: str) -> tuple[int, ...] | None:
        """Return the sizes of one sample of a value, or None where it has no batch in front."""
        shape = self.shapes.get(name, ())
        if len(shape) not in (2, 4) or shape[0] != _BATCH or _BATCH in shape[1:]:
            return None
        return shape[1:] if min(shape) > 0 else None

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Return the value of an initializer or Constant node; None where it is computed."""
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.makers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        value = next((a for a in node.attribute if a.name == "value"), None)
        return None if value is None else numpy_helper.to_array(value.t)


def attributes_of(node: onnx.NodeProto) -> dict[str, object]:
    """Return a node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def is_plain(node: onnx.NodeProto, *kinds: str) -> bool:
    """Return whether a node is one of these operators of the standard domain."""
    return node.domain in ("", "ai.onnx") and node.op_type in kinds
