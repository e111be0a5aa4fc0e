"""Keeping nodes that torch has no counterpart for: runs teach how their outputs are shaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import onnx
from torch import Tensor

from compressc.errors import CaptureError
from compressc.frontend.onnx_import.call import Call
from compressc.frontend.onnx_import.graph import Graph
from compressc.kept_nodes import (
    ONNX_NODE,
    OPSET,
    KeptNode,
    Size,
    encode_proto,
    needed_opset,
    run_kept,
)
from compressc.runtime.errors import RuntimeFailure

_RANDOM = ("Random", "Bernoulli", "Multinomial")
# The size of what they return depends on the data, which runs on a few inputs do not show.
_DATA_SIZED = frozenset({"NonZero", "Compress", "Unique", "NonMaxSuppression"})
_Shapes = list[tuple[int, ...]]


@dataclass
class Keeper:
    """Learns the shapes of kept nodes from eager runs, then stands in for them while tracing.

    Attributes:
        learning: whether the network runs eagerly, so that shapes are numbers.
    """

    learning: bool = True
    _seen: dict[int, list[tuple[_Shapes, _Shapes]]] = field(default_factory=dict)
    _kept: dict[int, KeptNode] = field(default_factory=dict)

    def keeps(self, call: Call) -> bool:
        """Return whether the node is known to be kept."""
        return not self.learning and id(call.node) in self._kept

    def learn(self, call: Call, reason: CaptureError) -> tuple[Tensor | None, ...]:
        """Run a node that could not be converted, and note how its outputs are shaped.

        Raises:
            CaptureError: ``reason``, where the node cannot be kept either.
        """
        if not self.learning:
            raise reason
        kept = _describe(call, reason)
        inputs = _given(call)
        try:
            outputs = run_kept(kept, inputs)
        except (RuntimeFailure, RuntimeError, TypeError, ValueError) as error:
            raise reason from error
        key = id(call.node)
        shapes = ([tuple(x.shape) for x in inputs], [tuple(x.shape) for x in outputs])
        self._seen.setdefault(key, []).append(shapes)
        self._kept[key] = replace(
            kept,
            dtypes=tuple(str(x.dtype).removeprefix("torch.") for x in outputs),
            shapes=_learn(self._seen[key], reason),
        )
        return _placed(call, outputs)

    def __call__(self, call: Call) -> tuple[Tensor | None, ...]:
        """Return the outputs of a kept node."""
        return _placed(call, ONNX_NODE(_given(call), self._kept[id(call.node)].encode()))

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators of the kept nodes, in order."""
        return tuple(dict.fromkeys(kept.operator for kept in self._kept.values()))

    @property
    def is_outdated(self) -> bool:
        """Whether a kept node means something else in the operator set of the files we write."""
        return any(needed_opset(kept, OPSET) is None for kept in self._kept.values())


def _describe(call: Call, reason: CaptureError) -> KeptNode:
    node = call.node
    inside = any(isinstance(value, Graph) for value in node.attributes.values())
    if inside or node.operator.startswith(_RANDOM) or node.operator in _DATA_SIZED:
        raise reason
    domain, _, operator = node.operator.rpartition(":")
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.output[:]
    proto.output.extend(node.outputs)
    return KeptNode(
        operator=f"{operator} of {domain}" if domain else operator,
        proto=encode_proto(proto),
        version=node.version,
        places=tuple(i for i in range(len(call.inputs)) if call.has(i)),
    )


def _given(call: Call) -> list[Tensor]:
    return [call.tensor(index) for index in range(len(call.inputs)) if call.has(index)]


def _placed(call: Call, outputs: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Return the outputs in the places that the node has for them."""
    fresh = iter(outputs)
    return tuple(next(fresh) if name else None for name in call.node.outputs)


def _learn(
    runs: Sequence[tuple[_Shapes, _Shapes]], reason: CaptureError
) -> tuple[tuple[Size, ...], ...]:
    """Return how the outputs' sizes follow from the inputs' sizes, the same in all runs.

    Raises:
        CaptureError: if a size follows from no input's size alone.
    """
    ranks = {tuple(len(shape) for shape in outputs) for _, outputs in runs}
    if len(ranks) != 1:
        raise reason
    return tuple(
        tuple(_learn_size(runs, output, axis, reason) for axis in range(rank))
        for output, rank in enumerate(ranks.pop())
    )


def _learn_size(
    runs: Sequence[tuple[_Shapes, _Shapes]], output: int, axis: int, reason: CaptureError
) -> Size:
    sizes = [outputs[output][axis] for _, outputs in runs]
    if len(set(sizes)) == 1:
        return sizes[0]
    inputs = runs[0][0]
    for position, shape in enumerate(inputs):
        for place in range(len(shape)):
            own = [given[position][place] for given, _ in runs]
            if own[0] and sizes[0] % own[0] == 0:
                factor = sizes[0] // own[0]
                if all(s == o * factor for s, o in zip(sizes, own, strict=True)):
                    return (position, place, factor)
    raise reason
