"""Cases of elementwise operations, made from their schemas.

There are some 500 overloads; each gets its operands from layers of its own, and several share a
graph, which reads every result and sums what was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from tests.graph_kit import Kit, aten

CHANNELS = 6

_WANTS_INTEGERS = ("bitwise_left_shift", "bitwise_right_shift")
_WANTS_BOOLEANS = ("bitwise_", "__and__", "__or__", "__xor__")
# Arguments that an operation cannot do without, whatever its schema says.
_NUMBER_VALUES: dict[str, dict[str, Any]] = {
    "bernoulli_.float": {"p": 1.0},
    "bernoulli.p": {"p": 1.0},
    **{name: {"min": 0.3} for name in ("clamp.default", "clip.default")},
    **{name: {"min": 0.3, "max": 0.6} for name in ("clamp_.default", "clip_.default")},
    "to.prim_Device": {"device": torch.device("cpu")},
}


def name_of(target: Any) -> str:
    """Return "add.Tensor" for aten.add.Tensor."""
    return f"{target._opname}.{target._overloadname}"


def computes_tensors(target: Any) -> bool:
    """Return whether an overload takes a tensor and returns one; others never reach a graph."""
    schema = target._schema
    takes = any(_is_tensor(argument) for argument in schema.arguments)
    return takes and len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"


def _is_tensor(argument: Any) -> bool:
    return str(argument.type) in ("Tensor", "Optional[Tensor]")


class Operands:
    """Makes the operands of one call."""

    def __init__(self, kit: Kit, label: str) -> None:
        self.kit = kit
        self.label = label
        self.layers: list[str] = []

    def positive(self) -> Any:
        """Return channels between 0.1 and 0.9, from a layer of their own."""
        name = f"{self.label}_{len(self.layers)}"
        self.layers.append(name)
        found = aten.sigmoid.default(self.kit.source(name, CHANNELS))
        return aten.add.Scalar(aten.mul.Scalar(found, 0.8), 0.1)

    def boolean(self) -> Any:
        """Return channels that are true or false."""
        return aten.gt.Scalar(self.positive(), 0.5)

    def integer(self) -> Any:
        """Return channels that are the integers one or zero."""
        return aten._to_copy.default(self.boolean(), dtype=torch.int64)

    def binary(self) -> Any:
        """Return channels that are one or zero."""
        return aten._to_copy.default(self.boolean(), dtype=torch.float64)

    def tensor(self, target: Any, argument: str, first: bool) -> Any:
        """Return what a tensor argument needs."""
        operation = str(target._opname)
        if operation.startswith("float_power"):
            return aten._to_copy.default(self.positive(), dtype=torch.float64)
        if operation.startswith(_WANTS_INTEGERS):
            return self.integer()
        if operation.startswith(_WANTS_BOOLEANS):
            return self.boolean()
        if operation.startswith("where") and argument == "condition":
            return self.boolean()
        if operation.startswith(("masked_fill", "fill")) and not first:
            if argument == "mask":
                return self.boolean()
            return self.kit.buffer(f"{self.label}_value", torch.tensor(0.25))
        if operation.startswith("bernoulli"):
            return self.binary()
        if operation.startswith("acosh"):
            return aten.add.Scalar(self.positive(), 1.0)
        return self.positive()


def call(kit: Kit, label: str, target: Any) -> tuple[Any, Operands]:
    """Call an operation on operands that it accepts; the result is turned into numbers."""
    operands = Operands(kit, label)
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for index, argument in enumerate(target._schema.arguments):
        value = _value(operands, target, argument, index == 0)
        if value is _LEAVE:
            continue
        if argument.kwarg_only or len(arguments) < index:
            keywords[argument.name] = value
        else:
            arguments.append(value)
    if str(target._opname).endswith("_"):
        arguments[0] = aten.clone.default(arguments[0])
    result = target(*arguments, **keywords)
    return aten._to_copy.default(result, dtype=torch.float64), operands


_LEAVE = object()


def _value(operands: Operands, target: Any, argument: Any, first: bool) -> Any:
    special = _NUMBER_VALUES.get(name_of(target), {})
    if argument.name in special:
        return special[argument.name]
    kind = str(argument.type)
    if kind == "number":
        if str(target._opname).startswith(_WANTS_INTEGERS):
            return 1
        if str(target._opname).startswith(_WANTS_BOOLEANS):
            return True
    if kind == "Tensor":
        return operands.tensor(target, argument.name, first)
    if kind == "Optional[Tensor]":
        return operands.positive()
    if argument.has_default_value():
        return _LEAVE
    if argument.name in ("train", "training"):
        return False
    return {
        "number": 0.4,
        "Optional[number]": 0.4,
        "float": 0.5,
        "int": torch.float64 if "dtype" in argument.name else 1,
        "bool": False,
        "Optional[str]": "floor",
        "Device": torch.device("cpu"),
    }.get(kind, _LEAVE)


def batches(targets: list[Any], size: int = 12) -> Iterator[list[Any]]:
    """Cut the operations into graphs of ``size``."""
    for start in range(0, len(targets), size):
        yield targets[start : start + size]


def graph_of(targets: list[Any]) -> tuple[Any, list[tuple[Any, list[str]]]]:
    """Return the program that sums what is read of every operation, and its layers."""
    kit = Kit()
    layers: list[tuple[Any, list[str]]] = []
    # A path that no operation is on keeps the output informative where results are constant.
    total = kit.read("plain_out", kit.source("plain", CHANNELS), CHANNELS)
    for index, target in enumerate(targets):
        result, operands = call(kit, f"op{index}", target)
        base = kit.source(f"base{index}", CHANNELS)
        read = kit.read(
            f"read{index}", aten.add.Tensor(base, aten.nan_to_num.default(result)), CHANNELS
        )
        total = aten.add.Tensor(total, read)
        layers.append((target, [*operands.layers, f"base{index}"]))
    return kit.program(total), layers
