"""Folders of Hugging Face transformers: ``config.json`` beside ``model.safetensors``.

The class, the inputs and their sizes stand in the configuration. Code in the folder is never run.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressc.error_text import name_error
from compressc.errors import HandOverError

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENS, _SAMPLES = 16, 16000
_LARGEST_CONFIG_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class FolderModel:
    """A model out of a folder, with inputs to capture it on.

    Attributes:
        module: takes tensors by position, returns what the model returns.
        inputs: one tensor for each name, batch first.
        names: what the model calls its inputs.
        sequence_axes: inputs whose second axis is a length that may vary.
        class_name: of the model.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    names: tuple[str, ...]
    sequence_axes: tuple[int, ...]
    class_name: str


class _ByPosition(nn.Module):
    """Calls a model of transformers with its inputs by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self._names = names

    def forward(self, *tensors: Tensor) -> Any:
        """Return the outputs that are tensors, by name."""
        result = self.model(**dict(zip(self._names, tensors, strict=True)), return_dict=True)
        return {name: value for name, value in result.items() if isinstance(value, Tensor)}


def is_model_folder(path: Path) -> bool:
    """Return whether a path is a folder that transformers wrote a model to."""
    return (path / _CONFIG).is_file()


def read_folder(
    path: Path, *, shapes: tuple[tuple[int, ...], ...] | None, batch: int, seed: int
) -> FolderModel:
    """Build the model of a folder and inputs for it.

    Args:
        path: the folder.
        shapes: of one example of each input, or None for what the configuration says.
        batch: of the inputs.
        seed: of their values.

    Raises:
        HandOverError: if transformers is missing, the folder is damaged, holds weights in pickles,
            or its model is none of transformers' own.
    """
    config = _read_config(path)
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise HandOverError(f"its {_CONFIG} names no architecture; save it with save_pretrained()")
    if not any((path / name).is_file() for name in _WEIGHTS):
        raise HandOverError(
            "holds no model.safetensors; save it again with model.save_pretrained(folder)"
        )
    model = _load(path, names[0])
    inputs, said, sequence = _make_inputs(model, config, shapes, batch, seed)
    return FolderModel(_ByPosition(model, said), inputs, said, sequence, names[0])


def _read_config(path: Path) -> Mapping[str, Any]:
    file = path / _CONFIG
    try:
        if file.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise HandOverError(f"its {_CONFIG} is larger than a configuration can be")
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HandOverError(f"its {_CONFIG} cannot be read ({name_error(error)})") from error
    if not isinstance(document, dict):
        raise HandOverError(f"its {_CONFIG} is no object")
    return document


def _load(path: Path, name: str) -> nn.Module:
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise HandOverError(
            "is a folder of Hugging Face transformers, which cannot be imported "
            f"({name_error(error)}); pip install transformers (or compressc[transformers])"
        ) from error
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise HandOverError(
            f"its class {name} is not in transformers {transformers.__version__}; code in the "
            "folder is not run: build the model yourself and hand over a .pt2"
        )
    try:
        model: nn.Module = model_class.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except Exception as error:
        raise HandOverError(f"transformers cannot load it ({name_error(error)})") from error
    configuration: Any = getattr(model, "config", None)
    if hasattr(configuration, "use_cache"):
        configuration.use_cache = False
    return model.float().eval()


def _make_inputs(
    model: nn.Module,
    config: Mapping[str, Any],
    shapes: tuple[tuple[int, ...], ...] | None,
    batch: int,
    seed: int,
) -> tuple[tuple[Tensor, ...], tuple[str, ...], tuple[int, ...]]:
    """Return inputs, their names, and which of them have a length that may vary."""
    generator = torch.Generator().manual_seed(seed)
    main = str(getattr(model, "main_input_name", "input_ids"))
    first = shapes[0] if shapes else _shape_of(main, config)
    if main == "input_ids":
        vocabulary = _number(config, "vocab_size")
        tokens = torch.randint(0, vocabulary, (batch, *first), generator=generator)
        mask = torch.ones(batch, *first, dtype=torch.int64)
        return (tokens, mask), (main, "attention_mask"), (0, 1)
    values = torch.randn(batch, *first, generator=generator)
    return (values,), (main,), (0,) if len(first) == 1 else ()


def _shape_of(name: str, config: Mapping[str, Any]) -> tuple[int, ...]:
    if name == "input_ids":
        return (_TOKENS,)
    if name == "pixel_values":
        side = config.get("image_size", 224)
        height, width = side if isinstance(side, list) and len(side) == 2 else (side, side)
        return (int(config.get("num_channels", 3)), int(height), int(width))
    if name == "input_values":
        return (_SAMPLES,)
    raise HandOverError(
        f"its input '{name}' has a size that its {_CONFIG} does not tell; pass --input-shape"
    )


def _number(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise HandOverError(f"its {_CONFIG} has no {name}; hand over a .pt2 instead")
    return value
