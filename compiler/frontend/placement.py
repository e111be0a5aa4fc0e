"""Placement: models and inputs that lie on a GPU are compressed as copies on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from compressc.error_text import name_error
from compressc.errors import HandOverError

_CPU = torch.device("cpu")
_Subject = TypeVar("_Subject")


def copy_to_cpu(model: nn.Module) -> tuple[nn.Module, str]:
    """Return a model whose weights are on the CPU, and a note where it had to be copied there.

    Args:
        model: left as it was found.

    Raises:
        HandOverError: if the model lies elsewhere and cannot be copied.
    """
    place = _foreign_device([*model.parameters(), *model.buffers()])
    if place is None:
        return model, ""
    try:
        return copy.deepcopy(model).to(_CPU), _note("the model was", place)
    except Exception as error:
        raise HandOverError(_advice(place, error)) from error


def move_exported_to_cpu(exported: ExportedProgram) -> tuple[ExportedProgram, str]:
    """Return an exported program on the CPU, and a note where it had to be moved there.

    Raises:
        HandOverError: if the program lies elsewhere and cannot be moved.
    """
    tensors = [*exported.state_dict.values(), *exported.constants.values()]
    place = _foreign_device(tensor for tensor in tensors if isinstance(tensor, Tensor))
    if place is None:
        return exported, ""
    try:
        return move_to_device_pass(exported, _CPU), _note("the exported program was", place)
    except Exception as error:
        raise HandOverError(_advice(place, error)) from error


def move_inputs_to_cpu(example_inputs: _Subject) -> _Subject:
    """Return example inputs, in whatever containers, with every tensor on the CPU.

    Raises:
        HandOverError: if a tensor has no data (meta device).
    """

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.is_meta:
            raise HandOverError("an example input has no data (meta device); give real values")
        return leaf.to(_CPU)

    return pytree.tree_map(moved, example_inputs)  # type: ignore[no-any-return]


def _foreign_device(tensors: Iterable[Tensor]) -> torch.device | None:
    """Return the first device that is not the CPU, or None."""
    devices = map(_device_of, tensors)
    return next((device for device in devices if device.type != _CPU.type), None)


def _device_of(tensor: Tensor) -> torch.device:
    return tensor.device


def _note(what: str, place: torch.device) -> str:
    return f"{what} on {place}; a copy on the CPU was compressed, and the original is unchanged"


def _advice(place: torch.device, error: Exception) -> str:
    return (
        f"the model is on {place} and cannot be copied to the CPU ({name_error(error)}); "
        "hand it over after model.cpu()"
    )
