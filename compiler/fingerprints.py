"""Fingerprints: digests of programs and tasks, by which saved state finds what it belongs to."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from compressc.program import Program
from compressc.tasks.capabilities import GivesSamples, GivesTraining, HasFingerprint
from compressc.tasks.protocol import Scored

_CACHE = "fingerprint"


def fingerprint(*parts: Any) -> str:
    """Return a digest of programs, tensors and plain values, nested in any way.

    A plain value counts by its ``repr``, which must say everything about it.
    """
    digest = hashlib.sha256()
    for part in parts:
        update_with(digest, part)
    return digest.hexdigest()


def fingerprint_program(program: Program) -> str:
    """Return a digest of a program's graph, weights, inputs and decisions.

    The digest of graph and weights is computed once per program.
    """
    content: str | None = program._derived.get(_CACHE)
    if content is None:
        content = program._derived[_CACHE] = _digest_of_content(program)
    return hashlib.sha256(
        repr(
            (
                content,
                program.plan.digest,
                program.constraints,
                program.sparse_weights,
                [tuple(tensor.shape) for tensor in program.example_inputs],
                [dict(axes) for axes in program.dynamic_axes],
            )
        ).encode()
    ).hexdigest()


def fingerprint_task(task: Scored | None, seed: int) -> str:
    """Return a digest of a task's data and settings.

    A task may know it itself (:class:`~compressc.tasks.capabilities.HasFingerprint`). Otherwise its
    first training batch and its first calibration batch stand for all of its data.
    """
    if task is None:
        return "none"
    if isinstance(task, HasFingerprint):
        return str(task.fingerprint())
    digest = hashlib.sha256(f"{type(task).__module__}.{type(task).__qualname__}".encode())
    if isinstance(task, GivesTraining):
        update_with(digest, next(iter(task.train_batches(0, seed)), None))
    if isinstance(task, GivesSamples):
        update_with(digest, next(iter(task.calibration_batches(1, seed)), None))
    return digest.hexdigest()


def update_with(digest: Any, value: Any) -> None:
    """Feed programs, tensors and plain values, nested in any way, to a digest of hashlib."""
    leaves, structure = pytree.tree_flatten(value)
    digest.update(f"{structure}".encode())
    for leaf in leaves:
        if isinstance(leaf, Program):
            digest.update(fingerprint_program(leaf).encode())
        elif isinstance(leaf, Tensor):
            plain = leaf.detach().cpu().contiguous()
            digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy())
        else:
            digest.update(repr(leaf).encode())


def _digest_of_content(program: Program) -> str:
    digest = hashlib.sha256(program.graph_module.code.encode())
    for name, tensor in program.state().items():
        digest.update(name.encode())
        update_with(digest, tensor)
    return digest.hexdigest()
