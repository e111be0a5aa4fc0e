"""Soundness of weights: what no later stage can repair is refused at the door."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx, nn

from compressc.errors import HandOverError
from compressc.operators import argument_of, argument_place

_DENSE_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_state(named_tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Check that every tensor of a model can be compressed.

    Negative infinity is allowed in buffers, where attention masks use it.

    Args:
        named_tensors: (name, tensor) pairs, parameters as ``nn.Parameter``.

    Raises:
        HandOverError: naming the first tensor that is complex, quantized, without data, an
            integer parameter, or holds NaN or infinite values; or if all tensors are integers.
    """
    floating = integers = 0
    first_integer = ""
    for name, tensor in named_tensors:
        check_form(name, tensor)
        if tensor.is_floating_point():
            floating += 1
            _check_values(name, tensor)
        elif not name.endswith("num_batches_tracked"):
            integers += 1
            first_integer = first_integer or name
    if integers and not floating:
        raise HandOverError(
            f"integer model: '{first_integer}' and all other weights are integers; hand over the "
            "floating-point model that it was made from"
        )


def check_statistics(module: fx.GraphModule) -> None:
    """Check that no batch norm holds a variance below 0, of which nothing takes a root.

    Raises:
        HandOverError: naming the first one.
    """
    state = module.state_dict()
    for node in module.graph.nodes:
        if node.op != "call_function" or argument_place(node, "running_var") is None:
            continue
        variance = argument_of(node, "running_var")
        if isinstance(variance, fx.Node) and str(variance.target) in state:
            least = float(state[str(variance.target)].min())
            if least < 0:
                raise HandOverError(
                    f"batch norm statistic '{variance.target}' holds a variance of {least:g}; "
                    "hand over a checkpoint whose variances are 0 or more"
                )


def check_form(name: str, tensor: Tensor) -> None:
    """Check that a tensor is a dense one of numbers, with its values.

    Raises:
        HandOverError: naming it, and what it is instead.
    """
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_nested:
        raise HandOverError(f"weight '{name}' is a nested tensor; save it as a dense one")
    advice = "hand over the floating-point model"
    if tensor.is_complex():
        raise HandOverError(f"weight '{name}' is complex ({kind}); only real models are supported")
    if tensor.is_quantized:
        raise HandOverError(f"weight '{name}' is quantized ({kind}); {advice}")
    if tensor.is_meta:
        raise HandOverError(f"weight '{name}' has no data (meta device); load its values first")
    if isinstance(tensor, nn.Parameter) and not tensor.is_floating_point():
        raise HandOverError(f"parameter '{name}' is an integer tensor ({kind}); {advice}")
    if tensor.is_floating_point() and tensor.dtype not in _DENSE_FLOATS:
        raise HandOverError(f"weight '{name}' is stored as {kind}; {advice}")
    if tensor.layout is not torch.strided:
        raise HandOverError(
            f"weight '{name}' is stored as {str(tensor.layout).removeprefix('torch.')}; "
            "call to_dense() on it before saving"
        )


def _check_values(name: str, tensor: Tensor) -> None:
    with torch.no_grad():
        # One pass for the common case: a finite sum of magnitudes proves every value finite.
        if bool(torch.isfinite(tensor.detach().abs().sum(dtype=torch.float64))):
            return
        nan = int(torch.isnan(tensor).sum())
        infinite = torch.isinf(tensor)
        if not isinstance(tensor, nn.Parameter):
            infinite &= tensor > 0
        infinities = int(infinite.sum())
    if nan or infinities:
        what = f"{nan} NaN" if nan else f"{infinities} infinite"
        raise HandOverError(
            f"weight '{name}' holds {what} of {tensor.numel()} values; hand over a checkpoint from "
            "before training diverged"
        )
