"""Fitting a state dict to a module: names brought in line, every mismatch named."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressc.errors import HandOverError
from compressc.frontend.architecture import head_width

_SHOWN = 3
# Left behind by wrappers and profilers (torch.compile, data parallel, weight averaging, thop).
_COMPILED = "_orig_mod"
_PREFIXES = ("module.", "model.", "net.", "network.", "backbone.")
_LEFTOVERS = ("n_averaged", "total_ops", "total_params")


def align_names(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return the state under the module's own names.

    ``_orig_mod`` (torch.compile) is dropped wherever it stands; prefixes such as ``module.`` (data
    parallel) are dropped as long as more names fit without them; counters that profilers and
    weight averaging leave behind are dropped.
    """
    own = module.state_dict().keys()
    aligned = {
        ".".join(part for part in name.split(".") if part != _COMPILED): tensor
        for name, tensor in state.items()
    }
    aligned = {
        name: tensor
        for name, tensor in aligned.items()
        if name in own or name.rpartition(".")[2] not in _LEFTOVERS
    }
    improved = True
    while improved:
        improved = False
        for prefix in _PREFIXES:
            stripped = {name.removeprefix(prefix): tensor for name, tensor in aligned.items()}
            if len(own & stripped.keys()) > len(own & aligned.keys()):
                aligned, improved = stripped, True
    return aligned


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load aligned weights into a module.

    Half precision is widened to the module's own. Tied weights may be stored once, and batch norm
    counters may be missing, as in files of old torch versions.

    Raises:
        HandOverError: naming the first missing, unexpected or misshapen tensors.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("batches_tracked")]
    missing = _untied(missing, own, state)
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} has {list(state[name].shape)}, the architecture wants {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and tensor.shape != state[name].shape
    ]
    parts = []
    if misshapen:
        parts.append("wrong shapes: " + _first(misshapen, "; "))
        classes = head_width(module, state)
        if classes is not None and not missing and not unexpected:
            parts.append(
                f"only the classifier differs: build the architecture with num_classes={classes}"
            )
    if missing:
        parts.append(f"missing: {_first(missing)}")
    if unexpected:
        parts.append(f"unexpected: {_first(unexpected)}")
    if parts:
        raise HandOverError(f"the state_dict does not fit the architecture; {'; '.join(parts)}")
    for name, tensor in own.items():
        if name in state:
            _check_kind(name, state[name], tensor)
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state:
                tensor.copy_(state[name])


def _untied(
    missing: list[str], own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> list[str]:
    """Return the missing names that share memory with no tensor that is present."""
    present = {(own[name].data_ptr(), own[name].shape) for name in own if name in state}
    return [
        name
        for name in missing
        if not own[name].numel() or (own[name].data_ptr(), own[name].shape) not in present
    ]


def _check_kind(name: str, stored: Tensor, parameter: Tensor) -> None:
    if stored.is_floating_point() != parameter.is_floating_point() or stored.is_complex():
        kinds = [str(tensor.dtype).removeprefix("torch.") for tensor in (stored, parameter)]
        raise HandOverError(
            f"weight '{name}' is stored as {kinds[0]} where the architecture wants {kinds[1]}; "
            "hand over the floating-point model"
        )


def _first(items: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more
