"""ONNX functions that rebuild a sparse weight from packed data with standard operators.

Both are model-local functions: ONNX Runtime inlines them, folds the constants when the session is
made, and only then fuses and lays out convolutions, so inference is that of a dense file. Every
shape inside follows from attributes and input shapes alone, because ONNX Runtime does not fold
operators whose output size depends on data (NonZero, Compress). Integer Div and Mod stand for
shifts and masks: they exist in every opset that has functions.

``values`` are one zero followed by the nonzeros, so index 0 serves every position without a value.
Folding keeps each intermediate result in memory until the session is ready, hence the care about
how many of them are as long as the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper, parser

DOMAIN = "compressc"
DOMAIN_VERSION = 1
MIN_OPSET = 14
MIN_IR_VERSION = 8
MASK = "UnpackMask"
GAPS = "UnpackGaps"


def unpacking_function(name: str, opset: int) -> onnx.FunctionProto:
    """Return the definition of :data:`MASK` or :data:`GAPS` over the given ONNX opset."""
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>'
    function: onnx.FunctionProto = parser.parse_function(header + _BODIES[name])
    return function


def unpacking_node(
    name: str, inputs: Sequence[str], output: str, shape: Sequence[int], width: int, codes: int
) -> onnx.NodeProto:
    """Return the call that rebuilds one tensor of the given shape."""
    attributes: dict[str, object] = {"shape": list(shape), "count": [codes]}
    if name == GAPS:
        attributes["width"] = width
    return helper.make_node(
        name, list(inputs), [output], name=f"{output}/{name}", domain=DOMAIN, **attributes
    )


# One bit per weight, most significant first.
_MASK = """
UnpackMask <count, shape> (bits, values) => (dense)
{
  start = Constant <value_ints: ints = [0]> ()
  flat = Constant <value_ints: ints = [-1]> ()
  column = Constant <value_ints: ints = [-1, 1]> ()
  total = Constant <value_ints: ints = @count> ()
  dims = Constant <value_ints: ints = @shape> ()
  axis = Constant <value = int32 {0}> ()
  two = Constant <value = uint8 {2}> ()
  places = Constant <value = uint8[8] {128, 64, 32, 16, 8, 4, 2, 1}> ()

  bytes = Reshape (bits, column)
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

# Eight codes in `width` bytes; each code lies in a window of three bytes.
_GAPS = """
UnpackGaps <width, count, shape> (codes, values) => (dense)
{
  start = Constant <value_ints: ints = [0]> ()
  flat = Constant <value_ints: ints = [-1]> ()
  total = Constant <value_ints: ints = @count> ()
  dims = Constant <value_ints: ints = @shape> ()
  width = Constant <value_int: int = @width> ()
  axis = Constant <value = int32 {0}> ()
  one = Constant <value = int32 {1}> ()
  two = Constant <value = int32 {2}> ()
  byte = Constant <value = int32 {256}> ()
  full = Constant <value = int32 {16777216}> ()
  next = Constant <value = int64 {1}> ()
  eight = Constant <value = int64 {8}> ()
  lanes = Constant <value = int64[8] {0, 1, 2, 3, 4, 5, 6, 7}> ()

  width_row = Reshape (width, flat)
  row = Concat <axis = 0> (flat, width_row)
  rows = Reshape (codes, row)
  last = Sub (width, next)
  bit = Mul (lanes, width)
  column0 = Div (bit, eight)
  after0 = Add (column0, next)
  column1 = Min (after0, last)
  after1 = Add (column1, next)
  column2 = Min (after1, last)
  byte0 = Gather <axis = 1> (rows, column0)
  byte1 = Gather <axis = 1> (rows, column1)
  byte2 = Gather <axis = 1> (rows, column2)
  high = Cast <to = 6> (byte0)
  middle = Cast <to = 6> (byte1)
  low = Cast <to = 6> (byte2)
  high_up = Mul (high, byte)
  upper = Add (high_up, middle)
  upper_up = Mul (upper, byte)
  window = Add (upper_up, low)

  bits = Cast <to = 6> (width)
  radix = Pow (two, bits)
  phase_long = Mod (bit, eight)
  phase = Cast <to = 6> (phase_long)
  end_bit = Add (phase, bits)
  above = Pow (two, end_bit)
  divisor = Div (full, above)
  shifted = Div (window, divisor)
  lane_codes = Mod (shifted, radix)
  padded = Reshape (lane_codes, flat)
  code = Slice (padded, start, total, start)

  escape = Sub (radix, one)
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

_BODIES = {MASK: _MASK, GAPS: _GAPS}
