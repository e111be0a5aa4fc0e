"""Random weights that hide nothing, for proofs about a graph.

Default initialisation hides errors: zero heads, layer scales of 1e-6 and uncalibrated batch norms
make outputs that hardly depend on the input. Here every parameter is drawn so that signals keep
their size, and batch-norm statistics are those of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor, fx

from compressc.graphs.trainable import clone_module
from compressc.program import Program
from compressc.proof.double_precision import doubled
from compressc.rules.propagation import named_tensors

_STATISTICS = ("running_mean", "running_var")
_NORMS = (torch.ops.aten.batch_norm.default, torch.ops.aten.instance_norm.default)


def random_inputs(examples: Sequence[Tensor], seed: int) -> tuple[Tensor, ...]:
    """Return inputs of the examples' shapes: normal noise, or the examples' own integers."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(x.shape, generator=generator, dtype=torch.float64)
        if x.is_floating_point()
        else x
        for x in examples
    )


class _Calibrator(fx.Interpreter):
    """Runs the graph and gives each batch norm the statistics of what reaches it."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in _NORMS and args[3] is not None and args[0].numel():
            x, mean, variance = args[0], args[3], args[4]
            dims = [dim for dim in range(x.dim()) if dim != 1]
            if x.numel() > x.shape[1]:
                mean.copy_(x.mean(dims))
                variance.copy_(x.var(dims).clamp_min(1e-3))
        return super().call_function(target, args, kwargs)


def randomized(program: Program, seed: int = 0) -> Program:
    """Return the program in float64 with random weights and calibrated batch norms.

    Integer buffers (indices) stay, and so do constants: a number that the graph takes the root of,
    a table of positions. Only for proofs: the plan and the graph are the program's own.
    """
    module = doubled(clone_module(program.graph_module))
    generator = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    buffers = dict(module.named_buffers())
    for name, tensor in named_tensors(module).items():
        if id(tensor) in seen or not tensor.is_floating_point():
            continue
        seen.add(id(tensor))
        if name in buffers and _is_constant(name, tensor):
            continue
        _draw(name, tensor.data, generator)
    inputs = random_inputs(program.example_inputs, seed)
    with torch.no_grad():
        _Calibrator(module).run(*inputs)
    return replace(program, graph_module=module, _derived={})


def _is_constant(name: str, buffer: Tensor) -> bool:
    """Tell constants, which stay, from statistics and from values that would hide errors."""
    if name.endswith(_STATISTICS):
        return False
    return buffer.numel() < 2 or bool((buffer != buffer.flatten()[0]).any())


def _draw(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    if name.endswith("running_var"):
        tensor.copy_(0.5 + noise.abs())
    elif tensor.dim() < 2:
        # Scales near one, but no two alike; biases and means are small.
        centre = 1.0 if name.endswith(("weight", "gamma", "scale")) else 0.0
        tensor.copy_(centre + 0.3 * noise)
    else:
        fan_in = max(1, tensor[0].numel())
        tensor.copy_(noise * sqrt(2.0 / fan_in))
