"""Torch-Pruning on one foreign model, used as its documentation shows: the peer to compare with."""

from __future__ import annotations

import copy
import importlib
import time
from typing import Any

import torch
from coverage_models import ForeignModel, build_model, make_inputs
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

_RATIO = 0.5
# Uniform ratios tried from the mildest on; the first that halves the MACs is taken.
_STEPS = 18
_HIGHEST = 0.9


def run_torch_pruning(model: ForeignModel) -> dict[str, Any]:
    """Prune to half the MACs with L2 magnitude; ok where the result runs and keeps its shapes."""
    line: dict[str, Any] = {"model": model.key, "family": model.family, "ok": False}
    started = time.process_time()
    try:
        line["stage"] = "build"
        module, inputs = build_model(model), make_inputs(model)
        line["stage"] = "prune"
        line.update(_prune(module, inputs))
    except Exception as error:  # noqa: BLE001 - a crash is a result of this benchmark
        line["reason"] = f"{type(error).__name__}: {str(error)[:300]}"
    line["cpu_seconds"] = {"total": round(time.process_time() - started, 2)}
    return line


def _prune(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    tp: Any = importlib.import_module("torch_pruning")
    expected, macs = _run(module, inputs)
    classifiers = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and _width(layer) in _output_widths(expected)
    ]
    pruner = tp.pruner.BasePruner(
        module,
        inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=_HIGHEST,
        iterative_steps=_STEPS,
        ignored_layers=classifiers[-1:],
        num_heads=_heads(module),
    )
    ratio, reason = 1.0, "the ratio stays above half"
    for _ in range(_STEPS):
        pruner.step()
        returned, now = _run(copy.deepcopy(module), inputs)
        if [x.shape for x in returned] != [x.shape for x in expected]:
            return {"stage": "check", "reason": "the output has another shape", "ok": False}
        ratio = now / macs
        if ratio <= _RATIO:
            return {"stage": "done", "ok": True, "macs_ratio": round(ratio, 4)}
    return {"stage": "done", "ok": False, "macs_ratio": round(ratio, 4), "reason": reason}


def _run(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[Tensor], int]:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        output = module(*inputs)
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    return leaves, int(counter.get_total_flops())


def _output_widths(outputs: list[Tensor]) -> set[int]:
    return {x.shape[1] for x in outputs if x.dim() > 1} | {x.shape[-1] for x in outputs if x.dim()}


def _width(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _heads(module: nn.Module) -> dict[nn.Module, int]:
    """Return the number of heads of every fused qkv layer that says so."""
    heads: dict[nn.Module, int] = {}
    for layer in module.modules():
        count, qkv = getattr(layer, "num_heads", None), getattr(layer, "qkv", None)
        if isinstance(count, int) and isinstance(qkv, nn.Linear):
            heads[qkv] = count
    return heads
