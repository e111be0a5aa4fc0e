"""Dynamic axes of a program's inputs, as those who run its ONNX file have to name them."""

from __future__ import annotations

from keyword import iskeyword

from compressc.program import Program


def list_axis_sizes(program: Program) -> dict[str, int]:
    """Return the sizes that the example inputs give dynamic axes but the batch, by axis name."""
    return {
        name: int(tensor.shape[axis])
        for tensor, axes in zip(program.example_inputs, program.dynamic_axes, strict=True)
        for axis, name in axes.items()
        if axis != 0
    }


def symbol_of(name: str) -> str:
    """Return an axis's name as torch takes it for a symbol: letters, digits and underscores."""
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    return plain if plain[:1].isalpha() and not iskeyword(plain) else f"axis_{plain}"
