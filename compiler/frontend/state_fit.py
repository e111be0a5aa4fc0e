"""Fitting a state dict to a module: names brought in line, every mismatch named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressc.errors import HandOverError
from compressc.frontend.architecture import head_width

_SHOWN = 3
# Left behind by wrappers and profilers (torch.compile, data parallel, weight averaging, thop).
_COMPILED = "_orig_mod"
_LEFTOVERS = ("n_averaged", "total_ops", "total_params")
# Averages beside the weights themselves: taken only where there is nothing else.
_AVERAGED = ("ema", "target", "teacher", "momentum", "key_encoder")


@dataclass(frozen=True, eq=False)
class Alignment:
    """Stored weights under a module's own names.

    Attributes:
        state: tensors by name.
        notes: what was left out, and which of several copies was taken.
    """

    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def align_names(state: Mapping[str, Tensor], module: nn.Module) -> Alignment:
    """Return the state under the module's own names.

    ``_orig_mod`` (torch.compile) is dropped wherever it stands; so is a prefix under which all of
    the module's tensors are stored: ``module.`` (data parallel), ``model.`` (Lightning),
    ``_forward_module.`` (Fabric), ``ema_model.`` and so on. What lies beside such a prefix (losses,
    metrics, a teacher) is left out, with a note. Counters that profilers and weight averaging leave
    behind are dropped.
    """
    own = module.state_dict().keys()
    stored = {
        ".".join(part for part in name.split(".") if part != _COMPILED): tensor
        for name, tensor in state.items()
    }
    stored = {
        name: tensor
        for name, tensor in stored.items()
        if name in own or name.rpartition(".")[2] not in _LEFTOVERS
    }
    prefixes = _prefixes(stored, own)
    if not prefixes:
        return Alignment(stored)
    prefix, others = prefixes[0], prefixes[1:]
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in stored.items()
        if name.startswith(prefix)
    }
    notes = []
    if others:
        shown = ", ".join(f"'{other}'" for other in others)
        notes.append(f"the weights are those under '{prefix}'; the file holds {shown}, too")
    beside = [name for name in stored if not name.startswith((prefix, *(o for o in others if o)))]
    if beside:
        notes.append(f"not part of the architecture, so left out: {_first(beside)}")
    return Alignment(inside, tuple(notes))


def _prefixes(stored: Mapping[str, Tensor], own: Collection[str]) -> list[str]:
    """Return the prefixes under which most of the module is stored, best first; none if bare."""
    covered: Counter[str] = Counter()
    for name in own:
        covered.update(other.removesuffix(name) for other in _ending(stored, name) if other != name)
    most = max(covered.values(), default=0)
    if most <= sum(name in stored for name in own):
        return []
    best = [prefix for prefix, count in covered.items() if count == most]
    return sorted(best, key=lambda prefix: (_is_average(prefix), len(prefix)))


def _ending(stored: Mapping[str, Tensor], name: str) -> list[str]:
    return [other for other in stored if other.endswith(f".{name}")]


def _is_average(prefix: str) -> bool:
    return any(word in prefix.lower() for word in _AVERAGED)


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
