"""Factories: ``module:factory`` that returns a Task or data loaders."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compressc.errors import DataError
from compressc.frontend.architecture import importable_folder
from compressc.tasks.loaders import LoaderTask, mean_of
from compressc.tasks.protocol import Task


def call_factory(name: str) -> Task:
    """Return what ``module:factory`` makes: a Task, or loaders for classification.

    Loaders come as a mapping with "train", "val" and "test" or as three in that order. The current
    folder is searched, too.

    Raises:
        DataError: if the factory is missing, fails, or returns something else.
    """
    module_name, _, attribute = name.partition(":")
    try:
        with importable_folder():
            factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"{name}: {error}") from error
    try:
        made = factory()
    except Exception as error:  # code of the user may raise anything
        raise DataError(f"{name}() failed: {type(error).__name__}: {error}") from error
    if isinstance(made, Task):
        return made
    return _from_loaders(name, made)


def _from_loaders(name: str, made: Any) -> Task:
    if isinstance(made, Mapping) and {"train", "val", "test"} <= set(made):
        train, val, test = (made[part] for part in ("train", "val", "test"))
    elif isinstance(made, (tuple, list)) and len(made) == 3:
        train, val, test = made
    else:
        raise DataError(
            f"{name}() returned {type(made).__name__}; return a Task, or the data loaders "
            "train, val and test"
        )
    return LoaderTask(train, val, test, F.cross_entropy, mean_of(_correct), "test accuracy [%]")


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return 100.0 * (outputs.argmax(1) == targets).to(torch.float64)
