"""Kernel kinds: a kernel without its channel counts, which are kept beside it as widths.

Two kernels are of one kind when the runtime runs the same code on the same picture size, with the
same things fused into it, and only channel counts differ. Latency as a function of these counts is
what a cost table holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from compressc.runtime.optimized_graph import Attributes, Kernel

Dim = int | str
Widths = tuple[int, ...]

BLOCKED = "com.microsoft.nchwc."
_CONVOLUTIONS = frozenset({"Conv", "com.microsoft.FusedConv", f"{BLOCKED}Conv"})
_GEMMS = frozenset({"Gemm", "com.microsoft.FusedGemm"})
_MATMULS = frozenset({"MatMul"})
# Kernels whose work is the same in every channel of axis 1.
_CHANNELWISE = frozenset(
    {
        *(f"{BLOCKED}{op}" for op in ("ReorderInput", "ReorderOutput", "Upsample")),
        *(f"{BLOCKED}{op}" for op in ("MaxPool", "AveragePool")),
        *(f"{BLOCKED}{op}" for op in ("GlobalAveragePool", "GlobalMaxPool")),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
        *("Add", "Sub", "Mul", "Div", "BatchNormalization", "Elu", "Softplus", "Erf"),
        *("com.microsoft.QuickGelu", "com.microsoft.Gelu", "Gelu", "Identity"),
    }
)


@dataclass(frozen=True)
class OperandForm:
    """An operand with names for channel counts: ``(1, "in", 28, 28)``, ``("out", "in", 3, 3)``."""

    kind: str
    dims: tuple[Dim, ...]
    stored: bool
    data: tuple[int, ...] | None = None


@dataclass(frozen=True)
class KernelKind:
    """What is executed, with names where channel counts stand.

    Attributes:
        op: of the kernel, with its domain outside the standard one.
        opset: version of the standard domain where the op belongs to it, else 0.
        attributes: name and plain value; ``group`` and ``channels`` may hold a name.
        operands: one per input, None where left out.
        outputs: which outputs exist.
        variables: the names: ("in", "out"), ("c",) or none.
    """

    op: str
    opset: int
    attributes: Attributes
    operands: tuple[OperandForm | None, ...]
    outputs: tuple[bool, ...]
    variables: tuple[str, ...]

    @property
    def blocked(self) -> bool:
        """Whether it runs in the blocked channel layout, whose widths are whole blocks."""
        return self.op.startswith(BLOCKED)

    @cached_property
    def key(self) -> str:
        """A text that is equal for equal kinds; :meth:`from_key` reads it back."""
        operands = [
            None if form is None else [form.kind, form.dims, form.stored, form.data]
            for form in self.operands
        ]
        fields = [self.op, self.opset, self.attributes, operands, self.outputs, self.variables]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_key(cls, key: str) -> KernelKind:
        """Read what :attr:`key` is.

        Raises:
            ValueError: if it is no such text.
        """
        op, opset, attributes, operands, outputs, variables = json.loads(key)
        return cls(
            op,
            opset,
            tuple((name, _tuples(value)) for name, value in attributes),
            tuple(None if form is None else OperandForm(*map(_tuples, form)) for form in operands),
            tuple(outputs),
            tuple(variables),
        )

    @property
    def family(self) -> str:
        """A text that is equal for kinds that differ in sizes only."""
        ranks = [form and (form.kind, len(form.dims), form.stored) for form in self.operands]
        return json.dumps([self.op, ranks])

    def shapes(self, widths: Widths) -> tuple[tuple[int, ...] | None, ...]:
        """Return the shape of every operand at the given widths."""
        if self.op == "Concat" and self.variables:
            return self._concatenated(widths[0])
        values = dict(zip(self.variables, widths, strict=True))
        return tuple(
            None if form is None else tuple(_value(dim, values) for dim in form.dims)
            for form in self.operands
        )

    def bound_attributes(self, widths: Widths) -> dict[str, Any]:
        """Return the attributes with numbers for names."""
        values = dict(zip(self.variables, widths, strict=True))
        whole = ("group", "channels")
        return {
            name: _value(value, values) if name in whole else value
            for name, value in self.attributes
        }

    def elements(self, widths: Widths) -> int:
        """Return how many numbers the operands hold together."""
        total = 0
        for shape in self.shapes(widths):
            count = 1
            for size in shape or (0,):
                count *= size
            total += count
        return total

    def _concatenated(self, total: int) -> tuple[tuple[int, ...] | None, ...]:
        """Share the channels out, the first operand taking what does not divide."""
        forms = [form for form in self.operands if form is not None]
        share = total // len(forms)
        counts = [total - share * (len(forms) - 1), *[share] * (len(forms) - 1)]
        return tuple(
            tuple(count if dim == "c" else int(dim) for dim in form.dims)
            for form, count in zip(forms, counts, strict=True)
        )


def reads_unblocked(kind: KernelKind, widths: Widths, block: int) -> bool:
    """Return whether a blocked convolution reads so few channels that they come unblocked."""
    return kind.blocked and kind.variables == ("in", "out") and 0 < widths[0] < block


def reorder_before(kind: KernelKind) -> KernelKind:
    """Return the kernel that puts what a blocked convolution reads out of the blocked layout."""
    picture = kind.operands[0]
    assert picture is not None
    dims = tuple("c" if dim == "in" else dim for dim in picture.dims)
    return KernelKind(
        op=f"{BLOCKED}ReorderOutput",
        opset=0,
        attributes=(("channels", "c"), ("channels_last", 0)),
        operands=(replace(picture, dims=dims),),
        outputs=(True,),
        variables=("c",),
    )


def classify(kernel: Kernel, opsets: Mapping[str, int]) -> tuple[KernelKind, Widths] | None:
    """Return the kind and widths of a kernel; None where it cannot be run on its own.

    Args:
        kernel: as the runtime executes it.
        opsets: version by domain, the standard one called "".
    """
    known = all(
        operand is not None or not name
        for operand, name in zip(kernel.operands, kernel.inputs, strict=True)
    )
    if kernel.opaque or not known or not kernel.operands or not kernel.operands[0]:
        return None
    if any(operand is not None and operand.kind == "string" for operand in kernel.operands):
        return None
    names: dict[str, int] = {}
    dims = [list(operand.shape) if operand else [] for operand in kernel.operands]
    forms: list[list[Dim]] = [list(shape) for shape in dims]
    attributes = dict(kernel.attributes)
    if kernel.op in _CONVOLUTIONS:
        names = _name_convolution(kernel, forms, attributes)
    elif kernel.op in _GEMMS or kernel.op in _MATMULS:
        names = _name_product(kernel, forms)
    elif kernel.op == "Concat" and kernel.attribute("axis") == 1 and len(forms) > 1:
        names = {"c": sum(shape[1] for shape in dims)}
        for form in forms:
            form[1] = "c"
    elif kernel.op in _CHANNELWISE and len(dims[0]) >= 3:
        names = _name_channels(dims, forms, attributes)
    operands = tuple(
        OperandForm(operand.kind, tuple(form), operand.stored, operand.data) if operand else None
        for operand, form in zip(kernel.operands, forms, strict=True)
    )
    kind = KernelKind(
        op=kernel.op,
        opset=0 if "." in kernel.op else opsets.get("", 0),
        attributes=tuple(sorted(attributes.items())),
        operands=operands,
        outputs=tuple(bool(name) for name in kernel.outputs),
        variables=tuple(names),
    )
    return kind, tuple(names.values())


def _name_convolution(
    kernel: Kernel, forms: list[list[Dim]], attributes: dict[str, Any]
) -> dict[str, int]:
    picture, weight = kernel.operands[0], kernel.operands[1]
    assert picture is not None
    if weight is None or not weight.stored or len(weight.shape) != len(picture.shape):
        return {}
    channels, filters = picture.shape[1], weight.shape[0]
    groups = int(kernel.attribute("group", 1))
    others = forms[2:]
    if groups > 1 and groups == channels == filters and weight.shape[1] == 1:
        for form in (forms[0], *(f for f in others if len(f) > 1)):
            form[1] = "c"
        for form in (forms[1], *(f for f in others if len(f) == 1)):
            form[0] = "c"
        attributes["group"] = "c"
        return {"c": channels}
    forms[0][1], forms[1][0] = "in", "out"
    forms[1][1] = "in" if groups == 1 else f"in/{groups}"
    for form in others:
        if form:
            form[1 if len(form) > 1 else 0] = "out"
    return {"in": channels, "out": filters}


def _name_product(kernel: Kernel, forms: list[list[Dim]]) -> dict[str, int]:
    left, weight = kernel.operands[0], kernel.operands[1]
    assert left is not None
    if weight is None or not weight.stored or len(weight.shape) != 2 or len(left.shape) < 2:
        return {}
    if kernel.attribute("transA", 0):
        return {}
    rows, columns = (1, 0) if kernel.attribute("transB", 0) else (0, 1)
    forms[0][-1] = forms[1][rows] = "in"
    forms[1][columns] = "out"
    for form in forms[2:]:
        if form and form[-1] == weight.shape[columns]:
            form[-1] = "out"
    return {"in": weight.shape[rows], "out": weight.shape[columns]}


def _name_channels(
    dims: list[list[int]], forms: list[list[Dim]], attributes: dict[str, Any]
) -> dict[str, int]:
    channels = dims[0][1]
    for shape, form in zip(dims, forms, strict=True):
        if len(shape) == len(dims[0]) and shape[1] == channels:
            form[1] = "c"
        elif len(shape) == 1 and shape[0] == channels and channels > 1:
            form[0] = "c"
        elif len(shape) == len(dims[0]) - 1 and shape[0] == channels and channels > 1:
            form[0] = "c"  # scales of shape (channels, 1, 1), which broadcast
    if "channels" in attributes:
        # Padded channels are reordered with the others.
        attributes["channels"] = "c"
    return {"c": channels}


def _value(dim: Any, values: Mapping[str, int]) -> int:
    if isinstance(dim, str):
        name, _, divisor = dim.partition("/")
        return values[name] // int(divisor or 1)
    return int(dim)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
