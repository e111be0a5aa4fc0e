"""Float64 reference: what a float32 module computes without its rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from compressc.array_types import Array

_NARROW = (torch.float32, torch.float16, torch.bfloat16)


def evaluate(module: Callable[..., Any], arguments: Sequence[Any]) -> list[Array]:
    """Return the tensors of a module's possibly nested result, in order."""
    with torch.no_grad():
        leaves = pytree.tree_leaves(module(*arguments))
    return [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, Tensor)]


class Float64Reference:
    """A copy of a module that runs in float64, or None where it cannot."""

    def __init__(self, module: Callable[..., Any]) -> None:
        self._module: nn.Module | None = None
        if isinstance(module, nn.Module):
            self._module = copy.deepcopy(module).double()

    def __call__(self, arguments: Sequence[Any]) -> list[Array] | None:
        """Return the module's result on these inputs in float64, see :func:`evaluate`."""
        if self._module is None:
            return None
        wide = pytree.tree_map(_widen_tensor, tuple(arguments))
        try:
            with _WidenTypes():  # type: ignore[no-untyped-call]
                return evaluate(self._module, wide)
        except Exception:  # noqa: BLE001 - some operations exist in float32 only
            self._module = None
            return None


class _WidenTypes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Turns the floating types that a graph names (casts, new tensors) into float64."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        args, kwargs = pytree.tree_map(_widen_type, (args, kwargs or {}))
        return func(*args, **kwargs)


def _widen_type(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROW else value


def _widen_tensor(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.double()
    return value
