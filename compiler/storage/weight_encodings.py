"""The ways to store one initializer in an ONNX file, all with the same bits after loading.

ONNX's own sparse initializers are not among them: an index takes eight bytes, and the full check
of ``onnx.checker`` refuses them wherever an ordinary operator reads one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compressc.array_types import Array, IntArray
from compressc.storage.float_parts import split_floats
from compressc.storage.gap_codes import best_width, encode_gaps, gaps_between, pack_planes
from compressc.storage.onnx_unpacking import FLOATS, GAPS, MASK, floats_node, zeros_node

# The parts of the packed kinds are joined by "+": where the zeros are, how the rest is stored.
KINDS = ("dense", "fill", "scatter", "mask", "gaps", "mask+floats", "gaps+floats")
# A weight without zeros stays dense: splitting its floats would save another 9 % but slow down
# loading tenfold. With fewer zeros than this no mask pays (one bit per weight of 32).
_MIN_ZEROS = 0.02
PART_NAMES = (
    "blank",
    "exponents",
    "filled",
    "fractions",
    "positions",
    "scales",
    "shape",
    "size",
    "values",
    "zeros",
)
FLOAT_TYPES = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
_FUNCTION_OF = {"mask": MASK, "gaps": GAPS, "floats": FLOATS}


@dataclass(frozen=True)
class Encoding:
    """One initializer as it goes into the file."""

    tensors: tuple[TensorProto, ...] = ()
    nodes: tuple[onnx.NodeProto, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes in the file, tags and lengths included."""
        sizes = [tensor.ByteSize() for tensor in self.tensors]
        sizes += [node.ByteSize() for node in self.nodes]
        return sum(map(framed_bytes, sizes))

    def __add__(self, other: Encoding) -> Encoding:
        return Encoding(self.tensors + other.tensors, self.nodes + other.nodes)


def framed_bytes(size_bytes: int) -> int:
    """Return the bytes of a message inside another: itself, its tag and its length."""
    return size_bytes + 1 + max(1, -(-size_bytes.bit_length() // 7))


def functions_of(kind: str) -> frozenset[str]:
    """Return the unpacking functions that a kind calls."""
    return frozenset(_FUNCTION_OF[part] for part in kind.split("+") if part in _FUNCTION_OF)


def share_of_zeros(tensor: TensorProto) -> float:
    """Return the share of exact +0.0 among the elements."""
    bits = _bits(numpy_helper.to_array(tensor))
    return 1.0 - int(np.count_nonzero(bits)) / bits.size if bits.size else 0.0


def worthwhile_kinds(tensor: TensorProto) -> list[str]:
    """Return the kinds that may save bytes, judged by the share of zeros alone."""
    return list(KINDS if share_of_zeros(tensor) > _MIN_ZEROS else ("dense", "fill"))


def encode(tensor: TensorProto, kind: str, stem: str) -> Encoding | None:
    """Return the initializer in one of :data:`KINDS`, or None where that kind cannot hold it.

    Args:
        tensor: a plain initializer of one of :data:`FLOAT_TYPES`.
        kind: how to store it.
        stem: new names are ``<stem>/<one of PART_NAMES>``.
    """
    if kind == "dense":
        return Encoding(tensors=(tensor,))
    array = numpy_helper.to_array(tensor)
    flat = array.ravel()
    # Comparing bits keeps -0.0 and NaN apart from the zeros that are left out.
    bits = _bits(array)
    if not bits.size:
        return None
    if kind == "fill":
        return _fill(tensor, flat, stem) if (bits == bits[0]).all() else None
    positions = np.flatnonzero(bits)
    if not len(positions) or len(positions) == bits.size:
        return None
    if kind == "scatter":
        if bits.size > np.iinfo(np.int32).max:
            return None
        return _scatter(tensor, flat[positions], positions, bits.size, stem)
    zeros, _, values = kind.partition("+")
    stored = _values(flat[positions], stem, split=bool(values))
    return None if stored is None else stored + _zeros(tensor, bits, positions, zeros, stem)


def _bits(array: Array) -> NDArray[np.unsignedinteger]:
    bits: NDArray[np.unsignedinteger] = array.ravel().view(f"u{array.itemsize}")
    return bits


def _fill(tensor: TensorProto, flat: Array, stem: str) -> Encoding:
    shape = numpy_helper.from_array(np.array(tensor.dims, dtype=np.int64), f"{stem}/shape")
    value = numpy_helper.from_array(flat[:1])
    node = helper.make_node(
        "ConstantOfShape", [shape.name], [tensor.name], name=shape.name, value=value
    )
    return Encoding(tensors=(shape,), nodes=(node,))


def _scatter(
    tensor: TensorProto, values: Array, positions: IntArray, size: int, stem: str
) -> Encoding:
    tensors = (
        numpy_helper.from_array(np.array([size], dtype=np.int64), f"{stem}/size"),
        numpy_helper.from_array(np.array(tensor.dims, dtype=np.int64), f"{stem}/shape"),
        numpy_helper.from_array(positions.astype(np.int32), f"{stem}/positions"),
        numpy_helper.from_array(values, f"{stem}/values"),
    )
    names = [item.name for item in tensors]
    blank, filled, dense = f"{stem}/blank", f"{stem}/filled", tensor.name
    zero = numpy_helper.from_array(np.zeros(1, values.dtype))
    nodes = (
        helper.make_node("ConstantOfShape", [names[0]], [blank], name=blank, value=zero),
        helper.make_node("ScatterElements", [blank, *names[2:]], [filled], name=filled),
        helper.make_node("Reshape", [filled, names[1]], [dense], name=names[1]),
    )
    return Encoding(tensors=tensors, nodes=nodes)


def _zeros(
    tensor: TensorProto,
    bits: NDArray[np.unsignedinteger],
    positions: IntArray,
    kind: str,
    stem: str,
) -> Encoding:
    if kind == "mask":
        packed, width, count = np.packbits(bits != 0), 1, len(bits)
    else:
        gaps = gaps_between(positions)
        width = best_width(gaps)
        codes = encode_gaps(gaps, width)
        packed, count = pack_planes(codes.astype(np.uint16), width), len(codes)
    item = numpy_helper.from_array(packed, f"{stem}/zeros")
    node = zeros_node(
        _FUNCTION_OF[kind], (item.name, f"{stem}/values"), tensor.name, tensor.dims, width, count
    )
    return Encoding(tensors=(item,), nodes=(node,))


def _values(values: Array, stem: str, *, split: bool) -> Encoding | None:
    """Store the nonzeros; a zero goes before them, which serves every other position."""
    name = f"{stem}/values"
    if not split:
        behind_zero = np.concatenate([np.zeros(1, values.dtype), values])
        return Encoding(tensors=(numpy_helper.from_array(behind_zero, name),))
    if values.dtype != np.float32:
        return None
    parts = split_floats(values.astype(np.float32, copy=False))
    if parts is None:
        return None
    tensors = (
        numpy_helper.from_array(parts.fractions, f"{stem}/fractions"),
        numpy_helper.from_array(parts.exponents, f"{stem}/exponents"),
        numpy_helper.from_array(parts.scales, f"{stem}/scales"),
    )
    names = [tensor.name for tensor in tensors]
    return Encoding(tensors=tensors, nodes=(floats_node(names, name, parts.width, len(values)),))
