"""Placement: captured modules and batches on the device they run on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from compressc.program import Program
from compressc.tasks.protocol import Inputs


def place_program(program: Program, device: torch.device, channels_last: bool) -> nn.Module:
    """Return a trainable copy of a program on a device, devices named in the graph included.

    Args:
        program: stays as it is.
        device: where the copy goes.
        channels_last: whether four-axis weights take the layout convolutions run fastest on.
    """
    module = program.module()
    if isinstance(module, fx.GraphModule):
        _rename_devices(module, device)
    module.to(device)
    if channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub lacks it
    return module


def _rename_devices(module: fx.GraphModule, device: torch.device) -> None:
    """Let tensors that the graph makes itself be made on ``device``."""
    for node in module.graph.nodes:
        arguments = (node.args, node.kwargs)
        node.args, node.kwargs = pytree.tree_map_only(torch.device, lambda _: device, arguments)
    module.recompile()


def place_inputs(inputs: Inputs, device: torch.device, channels_last: bool) -> Inputs:
    """Return inputs on a device, images in the layout of the weights."""
    placed = (tensor.to(device, non_blocking=True) for tensor in inputs)
    if not channels_last:
        return tuple(placed)
    return tuple(
        tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for tensor in placed
    )


def place_targets(targets: Any, device: torch.device) -> Any:
    """Return targets, nested in any way, on a device."""
    return pytree.tree_map_only(Tensor, lambda x: x.to(device, non_blocking=True), targets)
