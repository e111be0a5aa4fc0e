"""ONNX functions that rebuild a weight from packed data with standard operators.

All are model-local functions: ONNX Runtime inlines them, folds the constants when the session is
made, and only then fuses and lays out convolutions, so inference is that of a dense file. Every
shape inside follows from attributes and input shapes alone, because ONNX Runtime does not fold
operators whose output size depends on data (NonZero, Compress). Integer Div and Mod stand for
shifts and masks: they exist in every opset that has functions.

Folding keeps each intermediate result in memory until the session is ready, hence the care about
how many of them are as long as the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper, parser

DOMAIN = "compressc"
DOMAIN_VERSION = 1
MIN_OPSET = 14
MIN_IR_VERSION = 8
MASK = "UnpackMask"
GAPS = "UnpackGaps"
FLOATS = "UnpackFloats"


def unpacking_function(name: str, opset: int) -> onnx.FunctionProto:
    """Return the definition of :data:`MASK`, :data:`GAPS` or :data:`FLOATS` for an opset."""
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>'
    function: onnx.FunctionProto = parser.parse_function(header + _BODIES[name])
    return function


def zeros_node(
    name: str, inputs: Sequence[str], output: str, shape: Sequence[int], width: int, count: int
) -> onnx.NodeProto:
    """Return a call of :data:`MASK` or :data:`GAPS`.

    Args:
        name: the function.
        inputs: names of the packed bits or codes, and of the values.
        output: name of the rebuilt tensor.
        shape: shape of the rebuilt tensor.
        width: bits per code; 1 for a mask.
        count: codes in use; the last byte of a bit plane may hold more.
    """
    attributes: dict[str, list[int]] = {"shape": list(shape), "count": [count]}
    if name == GAPS:
        attributes["width"] = [width]
    return _call(name, inputs, output, attributes)


def floats_node(inputs: Sequence[str], output: str, width: int, count: int) -> onnx.NodeProto:
    """Return a call of :data:`FLOATS`, whose result is one zero followed by the floats.

    Args:
        inputs: names of the fractions, exponent codes and scales.
        output: name of the result.
        width: bits per exponent code.
        count: floats stored.
    """
    return _call(FLOATS, inputs, output, {"count": [count], "width": [width]})


def _call(
    name: str, inputs: Sequence[str], output: str, attributes: Mapping[str, list[int]]
) -> onnx.NodeProto:
    # Called after the packed data it reads, whose name is unique.
    node = helper.make_node(name, list(inputs), [output], name=inputs[0], domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(key, ints) for key, ints in attributes.items())
    return node


# One bit per weight. `values` are a zero followed by the nonzeros, so that index 0 serves every
# position without a value.
_MASK = """
UnpackMask <count, shape> (codes, values) => (dense)
{
  start = Constant <value_ints: ints = [0]> ()
  flat = Constant <value_ints: ints = [-1]> ()
  column = Constant <value_ints: ints = [-1, 1]> ()
  total = Constant <value_ints: ints = @count> ()
  dims = Constant <value_ints: ints = @shape> ()
  axis = Constant <value = int32 {0}> ()
  two = Constant <value = uint8 {2}> ()
  places = Constant <value = uint8[8] {128, 64, 32, 16, 8, 4, 2, 1}> ()

  bytes = Reshape (codes, column)
  shifted = Div (bytes, places)
  rows = Mod (shifted, two)
  padded = Reshape (rows, flat)
  mask = Slice (padded, start, total, start)
  present = Cast <to = 6> (mask)
  rank = CumSum (present, axis)
  source = Mul (rank, present)
  filled = Gather <axis = 0> (values, source)
  dense = Reshape (filled, dims)
}
"""

# Numbers of `width` bits from bit planes, lowest first. Two rows of `table` add up the low and
# the high byte of numbers wider than eight bits. The product of unsigned bytes is exact.
_NUMBERS = """
  start = Constant <value_ints: ints = [0]> ()
  flat = Constant <value_ints: ints = [-1]> ()
  total = Constant <value_ints: ints = @count> ()
  width = Constant <value_ints: ints = @width> ()
  along = Constant <value_ints: ints = [1]> ()
  two = Constant <value = uint8 {2}> ()
  places = Constant <value = uint8[8] {128, 64, 32, 16, 8, 4, 2, 1}> ()
  powers = Constant <value = uint8[2, 16] {1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0,
                                           0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128}> ()
  radices = Constant <value = int32[2, 1] {1, 256}> ()
  by_plane = Concat <axis = 0> (width, flat)
  by_byte = Concat <axis = 0> (flat, along)
  bytes = Reshape (codes, by_byte)
  shifted = Div (bytes, places)
  bits = Mod (shifted, two)
  planes = Reshape (bits, by_plane)
  table = Slice (powers, start, width, along)
  halves = MatMulInteger (table, planes)
  weighted = Mul (halves, radices)
  padded = ReduceSum <keepdims = 0> (weighted, start)
  code = Slice (padded, start, total, start)
"""

# Gaps between nonzeros, see compressc.storage.gap_codes. An escape writes the zero of `values`
# where a zero already is.
_GAPS = (
    """
UnpackGaps <width, count, shape> (codes, values) => (dense)
{"""
    + _NUMBERS
    + """
  dims = Constant <value_ints: ints = @shape> ()
  one = Constant <value = int32 {1}> ()
  base = Constant <value = int32 {2}> ()
  bits32 = Cast <to = 6> (width)
  radix = Pow (base, bits32)
  escape = Sub (radix, one)
  axis = Constant <value = int32 {0}> ()
  is_value = Less (code, escape)
  present = Cast <to = 6> (is_value)
  step = Add (code, present)
  end = CumSum (step, axis)
  position = Sub (end, one)
  rank = CumSum (present, axis)
  source = Mul (rank, present)
  scattered = Gather <axis = 0> (values, source)
  zero = Gather <axis = 0> (values, start)
  size = ReduceProd <keepdims = 1> (dims)
  blank = Expand (zero, size)
  filled = ScatterElements <axis = 0> (blank, position, scattered)
  dense = Reshape (filled, dims)
}
"""
)

# A zero, then floats from sign-and-fraction bytes and exponent codes, see float_parts.
# With s the sign bit the 24-bit number is s * 2**23 + f, which stands for (-1)**s * (2**23 + f).
_FLOATS = (
    """
UnpackFloats <width, count> (fractions, codes, scales) => (values)
{"""
    + _NUMBERS
    + """
  byte_places = Constant <value = float[1, 3] {65536.0, 256.0, 1.0}> ()
  hidden = Constant <value = float {8388608.0}> ()
  byte_floats = Cast <to = 1> (fractions)
  signed_row = MatMul (byte_places, byte_floats)
  is_plus = Less (signed_row, hidden)
  plus = Add (signed_row, hidden)
  minus = Neg (signed_row)
  number = Where (is_plus, plus, minus)
  scale = Gather <axis = 0> (scales, code)
  joined = Mul (number, scale)
  joined_flat = Reshape (joined, flat)
  zero = Constant <value = float[1] {0.0}> ()
  values = Concat <axis = 0> (zero, joined_flat)
}
"""
)

_BODIES = {MASK: _MASK, GAPS: _GAPS, FLOATS: _FLOATS}
