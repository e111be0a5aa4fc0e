"""The table of ONNX operators."""

from __future__ import annotations

from collections.abc import Callable

from compressc.errors import RuleError
from compressc.frontend.onnx_import.call import Call, Results

Operator = Callable[[Call], Results]

OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register the function of one or more ONNX operators.

    Names outside the standard domain are written ``domain:operator``.

    Raises:
        RuleError: if an operator already has a function.
    """

    def register(function: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise RuleError(f"the ONNX operator {name} has two functions")
            OPERATORS[name] = function
        return function

    return register
