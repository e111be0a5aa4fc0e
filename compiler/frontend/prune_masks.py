"""Masks of ``torch.nn.utils.prune`` in a checkpoint, multiplied into the weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from compressc.errors import HandOverError

_WEIGHT, _MASK = "_orig", "_mask"


def apply_masks(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return the state with ``weight_orig`` and ``weight_mask`` made one ``weight``, and a note.

    Raises:
        HandOverError: if a weight and its mask have different shapes.
    """
    result: dict[str, Tensor] = {}
    masked = 0
    for name, tensor in state.items():
        plain = name.removesuffix(_WEIGHT)
        mask = state.get(f"{plain}{_MASK}") if name.endswith(_WEIGHT) else None
        if name.endswith(_MASK) and f"{name.removesuffix(_MASK)}{_WEIGHT}" in state:
            continue
        if mask is None:
            result[name] = tensor
            continue
        if mask.shape != tensor.shape:
            raise HandOverError(
                f"the mask of '{plain}' has {list(mask.shape)}, the weight {list(tensor.shape)}"
            )
        result[plain] = tensor * mask.to(tensor.dtype)
        masked += 1
    note = f"masks of torch.nn.utils.prune were applied to {masked} tensors" if masked else ""
    return result, note
