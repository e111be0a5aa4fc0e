"""Stamping: what an ONNX file says about itself and its input, in its ``metadata_props``."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, helper

from compressc.frontend.stated_normalization import normalization_of
from compressc.program import Program
from compressc.tasks.capabilities import DescribesInput
from compressc.tasks.protocol import Scored


def stamp(model: ModelProto, metadata: Mapping[str, str]) -> None:
    """Add entries to a model's metadata; those of the same name are replaced."""
    kept = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**kept, **metadata})


def describe_input(program: Program, task: Scored | None) -> dict[str, str]:
    """Return what a user of the file must know to feed it.

    The task may say it (:class:`~compressc.tasks.capabilities.DescribesInput`). Otherwise the
    checkpoint may carry the normalisation it was trained with.
    """
    if isinstance(task, DescribesInput) and isinstance(task.metadata, Mapping):
        return {str(key): str(value) for key, value in task.metadata.items()}
    normalization = normalization_of(program)
    if normalization is None:
        return {}
    return {
        f"compressc.normalization.{name}": " ".join(f"{x:g}" for x in numbers)
        for name, numbers in (("mean", normalization.mean), ("std", normalization.std))
    }
