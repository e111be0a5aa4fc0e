"""Which entry of a checkpoint holds the weights, and what else it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressc.errors import HandOverError

# Where training scripts put the weights, in the order of trust.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
_AVERAGES = ("ema_state_dict", "state_dict_ema", "model_ema", "ema")
# Not weights of a network, though tensors may be in them.
_OTHERS = ("optimizer", "scheduler", "scaler", "callbacks", "loops", "rng", "amp")
# A dictionary may hold itself.
_DEEPEST = 16

State = dict[str, Tensor]


def find_state(content: Mapping[Any, Any], key: str | None = None) -> tuple[State | None, str]:
    """Return the weights in a checkpoint, None where there are none, and a note on other weights.

    Args:
        content: the checkpoint.
        key: the entry to take, dotted where entries lie in entries; None for the usual ones.

    Raises:
        HandOverError: if there is no such entry, or several networks and none was chosen.
    """
    if key is not None:
        return _state_at(content, key), ""
    known = [name for name in (*_WRAPPERS, *_AVERAGES) if _state_in(content.get(name)) is not None]
    if known:
        return _state_in(content[known[0]]), _note(known)
    own = _own_tensors(content)
    if own is not None:
        return own, ""
    others = [
        str(name)
        for name, value in content.items()
        if not str(name).startswith(_OTHERS) and _state_in(value) is not None
    ]
    if len(others) > 1:
        raise HandOverError(
            f"holds several networks ({', '.join(others)}); choose one with --key {others[0]}"
        )
    if others:
        return _state_in(content[others[0]]), f"the weights are those of '{others[0]}' in the file"
    return None, ""


def _state_at(content: Mapping[Any, Any], key: str) -> State:
    value: Any = content.get(key)
    if value is None:
        value = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    state = _state_in(value)
    if state is None:
        names = [str(name) for name, entry in content.items() if _state_in(entry) is not None]
        has = f"weights are in {', '.join(names)}" if names else "no entry holds weights"
        raise HandOverError(f"--key {key}: holds no weights ({has})")
    return state


def _note(known: list[str]) -> str:
    if len(known) < 2:
        return ""
    others = ", ".join(known[1:])
    return (
        f"the weights are those of '{known[0]}' in the file; it holds {others}, too "
        f"(--key {known[1]})"
    )


def _state_in(value: Any, depth: int = 0) -> State | None:
    """Return the weights in an entry, which may wrap them once more."""
    if depth > _DEEPEST or not isinstance(value, Mapping):
        return None
    for name in (*_WRAPPERS, *_AVERAGES):
        state = _state_in(value.get(name), depth + 1)
        if state is not None:
            return state
    return _own_tensors(value)


def _own_tensors(content: Mapping[Any, Any]) -> State | None:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    # Weights have dotted names, or make up the whole file (a single layer's weight and bias).
    if any("." in name for name in tensors) or (tensors and len(tensors) == len(content)):
        return tensors
    return None
