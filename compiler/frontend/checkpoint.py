"""Checkpoints: the weights in a file of torch.save or safetensors, and what it says about them."""

from __future__ import annotations

import argparse
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressc.errors import HandOverError
from compressc.frontend.architecture import importable_folder
from compressc.frontend.archive_safety import read_stored_members
from compressc.frontend.checkpoint_entries import find_state
from compressc.frontend.file_kind import FileKind
from compressc.frontend.prune_masks import apply_masks

_MODULE_KEYS = ("ema", "model", "net", "network", "module")
_ARCH_KEYS = ("arch", "architecture", "model_name")
_ARGUMENT_KEYS = ("args", "opt", "config", "hyper_parameters")
_DAMAGED = "the file is damaged or truncated; copy or save it again"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds: a state dict with what is said about it, or a whole module.

    Attributes:
        state: tensors by name, as stored; empty where ``module`` is given.
        arch: the architecture that the file names, or None.
        arch_kwargs: arguments of its factory.
        input_shape: one example without the batch axis, or None.
        normalization: ``{"mean": [...], "std": [...]}``, or None.
        module: an unpickled module (with ``trust_pickle`` only), or None.
        notes: what the user should know of the choice of weights.
    """

    state: Mapping[str, Tensor] = field(default_factory=dict)
    arch: str | None = None
    arch_kwargs: Mapping[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None
    normalization: Mapping[str, Any] | None = None
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()


def read_checkpoint(
    path: Path, kind: FileKind, *, trust_pickle: bool = False, key: str | None = None
) -> Checkpoint:
    """Read a checkpoint; runs no code from it unless ``trust_pickle``.

    Tensors come to the CPU, wherever they were saved. Extra entries (epoch, optimizer, accuracy)
    are left alone. ``key`` names the entry with the weights, where there are several.

    Raises:
        HandOverError: if the file is damaged, holds no weights (or not under ``key``), or holds
            pickled objects that are not trusted.
    """
    if kind is FileKind.SAFETENSORS:
        return _understand(_read_safetensors(path), None)
    if kind is FileKind.ZIPPED_PICKLE:
        _check_sums(path)
    return _understand(_unpickle(path, kind, trust_pickle), key)


def _check_sums(path: Path) -> None:
    """Refuse a file with flipped bits, which torch would read as other weights."""
    members = read_stored_members(path)
    # torch can be told to write no checksums; it then writes zeros.
    if not any(info.CRC for info in members.values()):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        raise HandOverError(_DAMAGED) from error
    if bad is not None:
        raise HandOverError(f"member '{bad}' does not match its checksum; {_DAMAGED}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise HandOverError(_DAMAGED) from error
    return state


def _plain_classes() -> list[Any]:
    """Classes beside tensors that training scripts store and whose unpickling runs nothing."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, bool)]
    old_name = "numpy.core.multiarray.scalar"
    return [argparse.Namespace, np.dtype, scalar, (scalar, old_name), *dtypes]


def _unpickle(path: Path, kind: FileKind, trust_pickle: bool) -> Any:
    try:
        with torch.serialization.safe_globals(_plain_classes()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        classes = _foreign_classes(path, kind)
        if not classes:
            raise HandOverError(_DAMAGED) from error
        if not trust_pickle:
            raise HandOverError(_danger(classes)) from error
    except Exception as error:
        raise HandOverError(_DAMAGED) from error
    return _unpickle_trusted(path)


def _unpickle_trusted(path: Path) -> Any:
    try:
        with importable_folder():
            return torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise HandOverError(
            f"the code of its class cannot be found ({error}); run in the folder that holds it, or "
            "install the package"
        ) from error
    except Exception as error:
        raise HandOverError(f"cannot be unpickled ({type(error).__name__}: {error})") from error


def _danger(classes: list[str]) -> str:
    shown = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    return (
        f"holds pickled Python objects ({shown}), and unpickling runs code from the file; if you "
        "trust its author, pass --trust-pickle (trust_pickle=True); safer: torch.export.save(...) "
        "as .pt2, or torch.save(model.state_dict(), ...) with --arch"
    )


def _foreign_classes(path: Path, kind: FileKind) -> list[str]:
    """Return the classes a pickle names, without unpickling it; empty if it cannot be parsed."""
    if kind is FileKind.ZIPPED_PICKLE:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            data = archive.read(name)
    else:
        data = path.read_bytes()
    known = re.compile(
        r"torch\._utils\.|torch\.\w+Storage$|collections\.OrderedDict$|numpy\.|_codecs"
    )
    return list(dict.fromkeys(name for name in _named_globals(data) if not known.match(name)))


def _named_globals(data: bytes) -> list[str]:
    """Return the globals of one or several pickles in a row, as ``module.name``."""
    named: list[str] = []
    texts: list[str] = []
    position = 0
    # A legacy file is five pickles followed by raw numbers.
    for _ in range(5):
        try:
            for opcode, argument, offset in pickletools.genops(data[position:]):
                if opcode.name == "GLOBAL":
                    named.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
                    named.append(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
                if opcode.name == "STOP":
                    position += (offset or 0) + 1
        except ValueError:
            break
        if position >= len(data):
            break
    return named


def _understand(content: Any, key: str | None) -> Checkpoint:
    if isinstance(content, nn.Module):
        return Checkpoint(module=content)
    if not isinstance(content, Mapping):
        raise HandOverError(
            f"holds a {type(content).__name__}, not a state_dict; save model.state_dict()"
        )
    names = _MODULE_KEYS if key is None else (key,)
    modules = [content[name] for name in names if isinstance(content.get(name), nn.Module)]
    if modules:
        return Checkpoint(module=modules[0], input_shape=_trained_shape(content))
    state, note = find_state(content, key)
    if state is None:
        keys = ", ".join(str(name) for name in list(content)[:6]) or "nothing"
        raise HandOverError(
            f"holds no state_dict (found {keys}); save model.state_dict(), alone or under "
            "'state_dict'"
        )
    said = dict(_arguments(content))
    said.update({str(key): value for key, value in content.items()})
    arch = next((said[key] for key in _ARCH_KEYS if isinstance(said.get(key), str)), None)
    kwargs, shape = content.get("arch_kwargs"), content.get("input_shape")
    normalization = content.get("normalization")
    state, pruned = apply_masks(state)
    return Checkpoint(
        state=state,
        arch=arch,
        arch_kwargs=dict(kwargs) if isinstance(kwargs, Mapping) else {},
        input_shape=_shape(shape),
        normalization=dict(normalization) if isinstance(normalization, Mapping) else None,
        notes=tuple(filter(None, (note, pruned))),
    )


def _trained_shape(content: Mapping[Any, Any]) -> tuple[int, ...] | None:
    """Return the shape of the pictures that an Ultralytics model was trained on."""
    options = content.get("train_args")
    side = options.get("imgsz") if isinstance(options, Mapping) else None
    return (3, side, side) if type(side) is int else None


def _shape(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, list | tuple | torch.Size) and all(type(size) is int for size in value):
        return tuple(value) or None
    return None


def _arguments(content: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Return the options of the training script, where it stored them (torchvision, timm)."""
    for key in _ARGUMENT_KEYS:
        options = content.get(key)
        if isinstance(options, argparse.Namespace):
            options = vars(options)
        if isinstance(options, Mapping):
            arguments = {str(name): value for name, value in options.items()}
            if isinstance(arguments.get("model"), str):
                arguments.setdefault("arch", arguments["model"])
            return arguments
    return {}
