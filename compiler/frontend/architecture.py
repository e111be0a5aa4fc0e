"""Architectures: from a name to a module, with the number of classes that the weights show."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressc.error_text import name_error
from compressc.errors import HandOverError
from compressc.frontend.libraries import library_factory
from compressc.models.registry import architectures

# Tied weights are stored once, and a head may be left out.
_MOST_TIMES_STORED = 4
_FREE_PARAMETERS = 2_000_000
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@contextlib.contextmanager
def importable_folder() -> Iterator[None]:
    """Let modules of the current folder be imported, as ``python -m`` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def find_factory(arch: str, *, named_by_file: bool = False) -> Callable[..., nn.Module]:
    """Return what builds an architecture: one of ours by name, or the user's ``module:factory``.

    Args:
        arch: a name in ``compressc.models``, ``timm:NAME`` and the like, or ``module:factory``.
        named_by_file: the name comes from a checkpoint, which may not make us import code.

    Raises:
        HandOverError: if there is no such architecture, or it cannot be imported.
    """
    if ":" in arch:
        if named_by_file:
            raise HandOverError(
                f"names its architecture as code ({arch!r}), which is not imported unasked; if you "
                f"trust it, pass --arch {arch}"
            )
        return library_factory(arch) or _import_factory(arch)
    known = architectures()
    name = arch.strip().lower().replace("-", "_")
    if name in known:
        return known[name].factory
    advice = "pass --arch module:factory with the function or class that builds it"
    if named_by_file:
        raise HandOverError(
            f"names its architecture {arch!r}, which is not among compressc.models; {advice}"
        )
    near = get_close_matches(name, known, n=3, cutoff=0.7)
    meant = f"did you mean {' or '.join(near)}? Else " if near else ""
    raise HandOverError(
        f"no architecture is called {arch!r}; {meant}{advice}, or timm:NAME, torchvision:NAME, "
        "ultralytics:NAME.yaml; `compressc architectures` lists ours"
    )


def _import_factory(reference: str) -> Callable[..., nn.Module]:
    if not _REFERENCE.fullmatch(reference):
        raise HandOverError(
            f"--arch {reference!r}: write module:factory, such as nets.resnet:small"
        )
    module_name, _, attributes = reference.partition(":")
    try:
        with importable_folder():
            target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None:
            cause = error.__cause__ or error.__context__ or error
            raise HandOverError(
                f"--arch {reference}: importing '{module_name}' failed ({name_error(cause)})"
            ) from error
        raise HandOverError(
            f"--arch {reference}: no module '{error.name}' in the current folder or the installed "
            "packages"
        ) from error
    except Exception as error:
        raise HandOverError(
            f"--arch {reference}: importing '{module_name}' failed ({name_error(error)})"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(target, attribute):
            raise HandOverError(f"--arch {reference}: '{module_name}' has no '{attribute}'")
        target = getattr(target, attribute)
    if not callable(target):
        raise HandOverError(f"--arch {reference}: is a {type(target).__name__}, not a factory")
    factory: Callable[..., nn.Module] = target
    return factory


def build_module(factory: Callable[..., nn.Module], kwargs: Mapping[str, Any]) -> nn.Module:
    """Call a factory.

    Raises:
        HandOverError: if it fails, or returns something else than a module.
    """
    name = getattr(factory, "__name__", type(factory).__name__)
    if isinstance(factory, nn.Module):
        return factory
    try:
        with importable_folder():
            module = factory(**kwargs)
    except Exception as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
        raise HandOverError(
            f"architecture {name}({shown}) cannot be built ({name_error(error)})"
        ) from error
    if not isinstance(module, nn.Module):
        raise HandOverError(
            f"architecture {name} returned a {type(module).__name__}, not an nn.Module"
        )
    return module


def check_stated_size(
    factory: Callable[..., nn.Module], kwargs: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Refuse arguments from a file that make a network of quite another size than its weights.

    A few bytes can ask for billions of parameters. Nothing of that size is made to find out.

    Raises:
        HandOverError: if the network cannot be built, or is far larger than the weights.
    """
    with torch.device("meta"):
        module = build_module(factory, kwargs)
    needed = sum(tensor.numel() for tensor in module.state_dict().values())
    stored = sum(tensor.numel() for tensor in state.values())
    if needed > _MOST_TIMES_STORED * stored + _FREE_PARAMETERS:
        raise HandOverError(
            f"states arguments of a network of {needed} parameters and holds {stored}; they do not "
            "belong together"
        )


def build_for(
    factory: Callable[..., nn.Module],
    kwargs: Mapping[str, Any],
    state_for: Callable[[nn.Module], Mapping[str, Tensor]],
) -> nn.Module:
    """Build a module, again with another ``num_classes`` where only the head's width differs.

    Args:
        factory: builds the module.
        kwargs: its arguments; a given ``num_classes`` is kept.
        state_for: the weights to be loaded, under the names of the module that it is given.

    Raises:
        HandOverError: as :func:`build_module`.
    """
    module = build_module(factory, kwargs)
    classes = head_width(module, state_for(module))
    if classes is None or "num_classes" in kwargs or not _takes(factory, "num_classes"):
        return module
    return build_module(factory, {**kwargs, "num_classes": classes})


def head_width(module: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """Return the outputs of the classifier in ``state`` if only these differ from the module's."""
    own = module.state_dict()
    differing = {
        name: state[name].shape
        for name in own
        if name in state and own[name].shape != state[name].shape
    }
    widths = {shape[0] for shape in differing.values() if shape}
    inner_fits = all(own[name].shape[1:] == shape[1:] for name, shape in differing.items())
    if len(widths) != 1 or not inner_fits or not _is_head(module, differing):
        return None
    return int(widths.pop())


def _is_head(module: nn.Module, differing: Mapping[str, Any]) -> bool:
    """Return whether the tensors belong to layers whose outputs nothing else reads: the last."""
    layers = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    owners = {name.rpartition(".")[0] for name in differing}
    # Auxiliary classifiers (GoogLeNet, Inception) are as wide as the last layer.
    return bool(layers) and layers[-1] in owners and len(owners) <= 3


def _takes(factory: Callable[..., nn.Module], argument: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == argument or p.kind is p.VAR_KEYWORD for p in parameters)
