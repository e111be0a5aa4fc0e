"""Operators that the graph in a ``.pt2`` may call.

torch resolves an operator's name by walking attributes from ``torch``, ``operator`` or ``math``, so
a name can reach any function in them. Only tensor operators and size arithmetic are let through.
"""

from __future__ import annotations

import re

import torch

from compressc.choices.operation import CHOOSE
from compressc.errors import HandOverError

_OPERATOR = re.compile(r"torch\.ops\.([a-z]\w*)\.(\w+)\.(\w+)")

# Namespaces whose operators compute on tensors and do nothing else. Others exist that read and
# write files (image, debugprims) or talk to other machines (c10d).
_NAMESPACES = frozenset(
    {"aten", "prims", "torchvision", "quantized_decomposed", CHOOSE._schema.name.partition("::")[0]}
)
_HIGHER_ORDER_NAMES = """
associative_scan cond map_impl scan tag_activation_checkpoint while_loop wrap_with_autocast
wrap_with_set_grad_enabled
"""
_SIZE_ARITHMETIC_NAMES = """
_operator.add _operator.and_ _operator.eq _operator.floordiv _operator.ge _operator.getitem
_operator.gt _operator.le _operator.lshift _operator.lt _operator.mod _operator.mul _operator.ne
_operator.neg _operator.or_ _operator.pos _operator.pow _operator.rshift _operator.sub
_operator.truediv math.ceil math.floor math.sqrt math.trunc torch.sym_float torch.sym_int
torch.sym_ite torch.sym_max torch.sym_min torch.sym_not torch.sym_sqrt torch._sym_sqrt torch.sym_sum
"""
_HIGHER_ORDER = frozenset(f"torch.ops.higher_order.{n}" for n in _HIGHER_ORDER_NAMES.split())
_SIZE_ARITHMETIC = frozenset(_SIZE_ARITHMETIC_NAMES.split())
_FILE_ARGUMENTS = frozenset({"filename", "file_name", "path"})


def check_operator(name: str) -> str:
    """Return ``name`` if it is an operator that only computes.

    Raises:
        HandOverError: if it is anything else, or an operator that is not installed here.
    """
    if name in _SIZE_ARITHMETIC or name in _HIGHER_ORDER:
        return name
    if (parts := _OPERATOR.fullmatch(name)) and parts[1] in _NAMESPACES:
        operator = _resolve(*parts.groups())
        # The path of einsum is an order of contractions.
        if any(
            argument.name in _FILE_ARGUMENTS and "str" in str(argument.type)
            for argument in operator._schema.arguments
        ):
            raise HandOverError(f"operator '{name}' opens files; a model may only compute")
        return name
    raise HandOverError(
        f"operator {name[:80]!r} is not among those that a model may call; export the model with "
        "standard torch operators"
    )


def _resolve(namespace: str, packet_name: str, overload: str) -> torch._ops.OpOverload:
    packet = getattr(getattr(torch.ops, namespace), packet_name, None)
    operator = getattr(packet, overload, None)
    if not isinstance(operator, torch._ops.OpOverload):
        raise HandOverError(
            f"operator 'torch.ops.{namespace}.{packet_name}.{overload}' is not registered in "
            f"torch {torch.__version__}; import the package that defines it, or save the file "
            "again with this version"
        )
    return operator
