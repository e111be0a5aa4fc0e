"""Zero channels where a count keeps a layer out of the runtime's fast kernels.

ONNX Runtime's blocked convolutions take channels in fours; a layer with 113 of them leaves their
layout, and so do its neighbours. Three channels more, whose weights are all zero, change no output
and bring it back. Whether that pays is for others to measure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

# The runtime pads multiples of this to whole blocks by itself.
ALIGNED = 4

# Whatever these make of a zero is finite, and what reads it multiplies it by zero.
_CHANNELWISE = frozenset(
    "Relu LeakyRelu Clip Sigmoid Tanh HardSigmoid HardSwish Elu Erf Identity "
    "MaxPool AveragePool GlobalAveragePool GlobalMaxPool".split()
)
_POOLS_ALL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_JOINING = frozenset({"Add", "Sub", "Mul"})


@dataclass(frozen=True)
class Padding:
    """A model with zero channels, and what was padded.

    Attributes:
        model: with the same outputs.
        widths: pairs of counts before and after, ascending.
    """

    model: onnx.ModelProto
    widths: tuple[tuple[int, int], ...]


def pad_channels(model: onnx.ModelProto, multiple_of: int = ALIGNED) -> Padding | None:
    """Return the model with channel counts of convolutions padded, None where none needs it.

    Channels are padded where everything that carries or reads them is known to leave the outputs
    alone: from convolutions through pointwise operations, poolings, sums and depthwise
    convolutions to convolutions and linear layers. Others stay as they are.

    Args:
        model: is not changed.
        multiple_of: what counts become multiples of.
    """
    padded = onnx.ModelProto()
    padded.CopyFrom(model)
    tracing = _Tracing(padded.graph)
    for node in padded.graph.node:
        tracing.follow(node)
    return tracing.pad(padded, multiple_of)


@dataclass
class _Domain:
    """Channels that must be equally many.

    Attributes:
        size: how many they are.
        slices: tensors with one slice each along an axis.
        shapes: tensors that name the count as the second of two sizes.
        depthwise: convolutions with as many groups.
        values: what carries them on axis 1.
        frozen: whether something unknown reads them.
    """

    size: int
    slices: list[tuple[str, int]] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    depthwise: list[onnx.NodeProto] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    frozen: bool = False


class _Tracing:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.outputs = {output.name for output in graph.output}
        self.domains: dict[str, _Domain] = {}
        self.single_pixels: set[str] = set()

    def follow(self, node: onnx.NodeProto) -> None:
        """Take the domains of a node's inputs to its outputs, or freeze them."""
        if node.op_type == "Conv" and self._convolve(node):
            return
        if node.op_type in ("Gemm", "MatMul") and self._multiply(node):
            return
        constant = all(self._size(name) == 1 for name in node.input[1:] if name)
        if node.op_type in _CHANNELWISE and constant and len(node.output) == 1:
            self._carry(node, node.input[:1])
        elif node.op_type in _JOINING and all(name in self.domains for name in node.input):
            self._join(*node.input)
            self._carry(node, node.input)
        elif node.op_type in _JOINING and constant:
            self._carry(node, node.input[:1])
        elif node.op_type == "Flatten" and node.input[0] in self.single_pixels:
            self._carry(node, node.input)
        elif node.op_type == "Reshape" and self._flattens(node):
            self._carry(node, node.input[:1])
        else:
            for name in node.input:
                if name in self.domains:
                    self.domains[name].frozen = True

    def _convolve(self, node: onnx.NodeProto) -> bool:
        shape = self._shape(node.input[1])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        read = self.domains.get(node.input[0])
        stored = [name for name in node.input[1:] if name]
        if shape is None or any(self.uses[name] != 1 for name in stored):
            return False
        if groups == 1:
            if read is not None:
                read.slices.append((node.input[1], 1))
            made = _Domain(shape[0])
        elif read is not None and groups == shape[0] == read.size and shape[1] == 1:
            made = read
            made.depthwise.append(node)
        else:
            return False
        made.slices.extend((name, 0) for name in stored)
        self._set(node.output[0], made)
        return True

    def _multiply(self, node: onnx.NodeProto) -> bool:
        shape, read = self._shape(node.input[1]), self.domains.get(node.input[0])
        flags = {a.name: a.i for a in node.attribute if a.name in ("transA", "transB")}
        if read is None or shape is None or flags.get("transA") or self.uses[node.input[1]] != 1:
            return False
        axis = 1 if flags.get("transB") else 0
        if len(shape) != 2 or shape[axis] != read.size:
            return False
        read.slices.append((node.input[1], axis))
        return True

    def _flattens(self, node: onnx.NodeProto) -> bool:
        """Return whether a reshape drops single pixels, and note the shape that it reads."""
        domain, shape = self.domains.get(node.input[0]), node.input[1]
        if domain is None or node.input[0] not in self.single_pixels:
            return False
        if self._shape(shape) != (2,) or self.uses[shape] != 1:
            return False
        count = int(numpy_helper.to_array(self.tensors[shape])[1])
        if count == domain.size:
            domain.shapes.append(shape)
        return count in (domain.size, -1)

    def _carry(self, node: onnx.NodeProto, sources: list[str]) -> None:
        domain = self.domains.get(sources[0])
        if domain is None:
            return
        self._set(node.output[0], domain)
        if node.op_type in _POOLS_ALL or set(sources) <= self.single_pixels:
            self.single_pixels.add(node.output[0])

    def _join(self, first: str, second: str) -> None:
        left, right = self.domains[first], self.domains[second]
        if left is right:
            return
        if left.size != right.size:
            left.frozen = right.frozen = True
            return
        left.frozen |= right.frozen
        left.slices += right.slices
        left.shapes += right.shapes
        left.depthwise += right.depthwise
        for name in right.values:
            self._set(name, left)

    def _set(self, name: str, domain: _Domain) -> None:
        self.domains[name] = domain
        domain.values.append(name)
        domain.frozen |= name in self.outputs

    def _shape(self, name: str) -> tuple[int, ...] | None:
        return tuple(self.tensors[name].dims) if name in self.tensors else None

    def _size(self, name: str) -> int | None:
        shape = self._shape(name)
        return int(np.prod(shape)) if shape is not None else None

    def pad(self, model: onnx.ModelProto, multiple_of: int) -> Padding | None:
        """Write the zeros, in place."""
        domains: dict[int, _Domain] = {
            id(domain): domain
            for domain in self.domains.values()
            if not domain.frozen and domain.size % multiple_of
        }
        if not domains:
            return None
        infos = {info.name: info for info in self.graph.value_info}
        for domain in domains.values():
            added = -domain.size % multiple_of
            for name, axis in domain.slices:
                self._extend(name, axis, added)
                if name in infos:
                    dim = infos[name].type.tensor_type.shape.dim[axis]
                    dim.dim_value = self.tensors[name].dims[axis]
            for name in domain.shapes:
                sizes = numpy_helper.to_array(self.tensors[name]).copy()
                sizes[1] = domain.size + added
                self.tensors[name].CopyFrom(numpy_helper.from_array(sizes, name))
            for node in domain.depthwise:
                _set_groups(node, domain.size + added)
            _set_channels(infos, domain.values, domain.size + added)
        widths = {
            (padded.size, padded.size + -padded.size % multiple_of) for padded in domains.values()
        }
        return Padding(model, tuple(sorted(widths)))

    def _extend(self, name: str, axis: int, added: int) -> None:
        array = numpy_helper.to_array(self.tensors[name])
        amounts = [(0, added if place == axis else 0) for place in range(array.ndim)]
        self.tensors[name].CopyFrom(numpy_helper.from_array(np.pad(array, amounts), name))


def _set_groups(node: onnx.NodeProto, groups: int) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != "group"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("group", groups)])


def _set_channels(
    infos: Mapping[str, onnx.ValueInfoProto], names: list[str], channels: int
) -> None:
    for name in names:
        if name in infos and len(infos[name].type.tensor_type.shape.dim) > 1:
            infos[name].type.tensor_type.shape.dim[1].dim_value = channels
