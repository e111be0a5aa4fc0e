"""Architectures of other libraries by name: ``timm:resnet18``, ``torchvision:resnet18``, ...

None of them is needed to install compressc; each is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from torch import nn

from compressc.error_text import name_error
from compressc.errors import HandOverError


def build_from_timm(name: str, **arguments: Any) -> nn.Module:
    """Build a network of timm, without fetching weights.

    Raises:
        HandOverError: if timm is not installed or knows no such network.
    """
    timm = _import_library("timm")
    _check_name("timm", name, timm.list_models())
    module: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return module


def build_from_torchvision(name: str, **arguments: Any) -> nn.Module:
    """Build a network of torchvision, without fetching weights; it knows its ``input_shape``.

    Raises:
        HandOverError: if torchvision is not installed or knows no such network.
    """
    models = _import_library("torchvision").models
    _check_name("torchvision", name, models.list_models())
    module: nn.Module = models.get_model(name, weights=None, **_without_downloads(arguments))
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    crop = getattr(transforms, "crop_size", None)
    if crop:
        module.input_shape = (3, int(crop[0]), int(crop[-1]))  # type: ignore[assignment]
    return module


def _without_downloads(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if not key.startswith("weights")}


def build_from_ultralytics(name: str, **arguments: Any) -> nn.Module:
    """Build a network that Ultralytics describes in a YAML file, such as ``yolo11n.yaml``.

    Raises:
        HandOverError: if ultralytics is not installed or knows no such network.
    """
    library = _import_library("ultralytics")
    if not name.endswith((".yaml", ".yml")):
        raise HandOverError(
            f"--arch ultralytics:{name}: give the description of the network, such as "
            "ultralytics:yolo11n.yaml; hand the .pt over as the model, with --trust-pickle"
        )
    try:
        module: nn.Module = library.YOLO(name, **arguments).model
    except (FileNotFoundError, KeyError) as error:
        raise HandOverError(
            f"--arch ultralytics:{name}: no such description ({name_error(error)})"
        ) from error
    side = 224 if "-cls" in name else 640
    module.input_shape = (3, side, side)  # type: ignore[assignment]
    return module


LIBRARIES: Mapping[str, Callable[..., nn.Module]] = {
    "timm": build_from_timm,
    "torchvision": build_from_torchvision,
    "ultralytics": build_from_ultralytics,
}


def library_factory(arch: str) -> Callable[..., nn.Module] | None:
    """Return what builds ``library:name``; None where ``arch`` names no library."""
    library, _, name = arch.partition(":")
    build = LIBRARIES.get(library)
    return None if build is None else partial(build, name)


def _import_library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise HandOverError(f"{name} cannot be imported ({name_error(error)})") from error
        raise HandOverError(
            f"{name} is not installed; pip install {name} (or compressc[{name}])"
        ) from error
    except Exception as error:
        raise HandOverError(f"{name} cannot be imported ({name_error(error)})") from error


def _check_name(library: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    # timm writes the weights that a network was trained with behind a dot.
    if name.partition(".")[0] in names:
        return
    near = ", ".join(get_close_matches(name, names, n=3)) or f"{len(names)} others"
    raise HandOverError(f"--arch {library}:{name}: {library} has no such network (it has {near})")
