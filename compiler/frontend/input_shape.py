"""Example inputs: their shapes as users write them, as a model tells them, and their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from compressc.errors import HandOverError
from compressc.frontend.index_inputs import find_index_inputs
from compressc.runtime.budgets import check_bytes
from compressc.runtime.errors import RuntimeFailure

Shape = tuple[int, ...]

_ADVICE = "pass --input-shape, one example without the batch axis, such as 3,224,224"
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SPACES = {nn.Conv1d: "LENGTH", nn.Conv2d: "224,224", nn.Conv3d: "16,112,112"}
# Where timm and our own conventions keep the shape of one example.
_SHAPE_ATTRIBUTES = ("input_shape", "input_size")
_CONFIG_ATTRIBUTES = ("pretrained_cfg", "default_cfg")


def parse_input_shape(text: str) -> tuple[Shape, ...]:
    """Read shapes as users write them: ``3,224,224``, or ``3x224x224``; several split by ``;``.

    Each is one example without the batch axis; a part that is empty is one number per example (a
    time step, a label, a length), as in ``3,32,32;``.

    Raises:
        HandOverError: if the text is no list of positive numbers.
    """
    shapes: list[Shape] = []
    parts = text.split(";")
    for part in parts:
        part = part.strip().strip("()[]")
        if not part and len(parts) > 1 and any(other.strip() for other in parts):
            shapes.append(())
            continue
        numbers = re.split(r"\s*[,x]\s*|\s+", part) if part else []
        if not numbers or not all(_is_size(number) for number in numbers):
            raise HandOverError(
                f"input shape '{text}': give positive sizes without the batch axis, such as "
                "3,224,224; separate several inputs with ; (nothing behind it is one number each)"
            )
        shapes.append(tuple(int(number) for number in numbers))
    return tuple(shapes)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0


def normalize_shapes(shape: Sequence[int] | Sequence[Sequence[int]]) -> tuple[Shape, ...]:
    """Return shapes of several inputs, whether one shape or several were given.

    Raises:
        HandOverError: if they are not positive integers.
    """
    rows: Sequence[Any] = [shape] if all(isinstance(size, int) for size in shape) else shape
    if not rows or not any(rows) or not all(_is_shape(row) for row in rows):
        raise HandOverError(f"input shape {shape!r}: give positive sizes, such as (3, 224, 224)")
    return tuple(tuple(row) for row in rows)


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple | torch.Size) and all(
        type(size) is int and size > 0 for size in value
    )


def infer_input_shape(module: nn.Module) -> tuple[Shape, ...]:
    """Return the shape of one example as the module itself tells it.

    Sources, in this order: an attribute ``input_shape`` or ``input_size``; timm's configuration;
    the width of a first linear layer; 16 tokens for a first embedding.

    Raises:
        HandOverError: if the module does not tell it; convolutions take images of any size.
    """
    for owner in (module, *(getattr(module, name, None) for name in _CONFIG_ATTRIBUTES)):
        for name in _SHAPE_ATTRIBUTES:
            shape = owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)
            if shape and _is_shape(shape):
                return (tuple(shape),)
    first = _first_layer(module)
    if isinstance(first, nn.Linear):
        return ((first.in_features,),)
    if isinstance(first, nn.Embedding):
        return ((16,),)
    if isinstance(first, _CONVOLUTIONS):
        space = next(text for kind, text in _SPACES.items() if isinstance(first, kind))
        raise HandOverError(
            "the size of its input is not known; pass --input-shape "
            f"{first.in_channels},{space} with the size that it was trained on"
        )
    raise HandOverError(f"the size of its input is not known; {_ADVICE}")


def make_example_inputs(
    shapes: Sequence[Shape], *, batch: int = 2, seed: int = 0, module: nn.Module | None = None
) -> tuple[Tensor, ...]:
    """Return seeded example inputs: standard normal, or indices where the module looks them up.

    Shape:
        each output (batch, then the shape).

    Raises:
        HandOverError: if the batch is below 1, or an input is larger than the memory budget.
    """
    if batch < 1:
        raise HandOverError(f"batch {batch}: must be 1 or more")
    _check_size(shapes, batch)
    generator = torch.Generator().manual_seed(seed)
    dtype = _floating_dtype(module)
    inputs = [torch.randn(batch, *shape, generator=generator).to(dtype) for shape in shapes]
    for place, rows in (find_index_inputs(module, inputs) if module is not None else {}).items():
        inputs[place] = torch.randint(0, rows, (batch, *shapes[place]), generator=generator)
    return tuple(inputs)


def _check_size(shapes: Sequence[Shape], batch: int) -> None:
    for shape in shapes:
        try:
            # As float32, and once more for what the first layer makes of it.
            check_bytes(f"an input of {'x'.join(map(str, shape))}", 8 * batch * prod(shape))
        except RuntimeFailure as error:
            raise HandOverError(str(error)) from error


def _floating_dtype(module: nn.Module | None) -> torch.dtype:
    parameters = module.parameters() if module is not None else iter(())
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)


def _first_layer(module: nn.Module) -> nn.Module | None:
    """Return the first layer with weights, in the order of definition."""
    kinds = (*_CONVOLUTIONS, nn.Linear, nn.Embedding)
    return next((layer for layer in module.modules() if isinstance(layer, kinds)), None)
