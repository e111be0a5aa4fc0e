"""Identity: the one digest by which state of an earlier run is known to belong to this one."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from compressc.content import feed_content
from compressc.errors import NoIdentityError
from compressc.goal import Goal
from compressc.program import Program
from compressc.tasks.capabilities import (
    GivesSamples,
    GivesTraining,
    HasFingerprint,
    HasTestFingerprint,
)
from compressc.tasks.protocol import Scored

if TYPE_CHECKING:
    from compressc.contract.declaration import Pass


def identify(
    purpose: str,
    *more: Any,
    program: Program | None = None,
    passes: Sequence[Pass] = (),
    goal: Goal | None = None,
    task: Scored | None = None,
    seed: int = 0,
    target: Any = None,
    tested: bool = False,
    kept: bool = True,
) -> str:
    """Return a digest of everything that a result depends on, 64 hexadecimal digits.

    The versions of this package and of torch always count. Leave out what does not change the
    result, so that it is found again when only that has changed.

    Args:
        purpose: what is kept under the digest, such as "training"; digests of different purposes
            differ.
        more: what else counts: plain values, tensors, dataclasses, functions, nested in any way.
        program: what the work begins with.
        passes: what is run, each with its fields.
        goal: bounds, budget and seed.
        task: counts with everything that passes see of it, but not with the test split.
        seed: of the batches that stand for a task that has no fingerprint of its own.
        target: where the result will run: threads, batch, the content of a cost table.
        tested: whether the result holds a metric on the test split, which then counts as well.
        kept: whether anything is kept under the digest. If not, what has no identity is no error:
            the digest is one that nothing else has.

    Raises:
        NoIdentityError: if something is nothing that another process could know again.
    """
    digest = hashlib.sha256()
    code = (purpose, version("compressc"), torch.__version__)
    try:
        feed_content(digest, (code, program, list(passes), goal, target, more))
        feed_content(digest, None if task is None else identify_task(task, seed))
        feed_content(digest, identify_test_split(task) if tested and task is not None else None)
    except NoIdentityError:
        if kept:
            raise
        digest.update(uuid.uuid4().bytes)
    return digest.hexdigest()


def identify_task(task: Scored, seed: int = 0) -> str:
    """Return a digest of what passes see of a task: its data and settings, not its test split.

    A task may know it itself (:class:`~compressc.tasks.capabilities.HasFingerprint`). Otherwise its
    first training batch and its first calibration batch stand for all of its data.
    """
    if isinstance(task, HasFingerprint):
        return str(task.fingerprint())
    digest = hashlib.sha256()
    feed_content(digest, type(task))
    if isinstance(task, GivesTraining):
        feed_content(digest, next(iter(task.train_batches(0, seed)), None))
    if isinstance(task, GivesSamples):
        feed_content(digest, next(iter(task.calibration_batches(1, seed)), None))
    return digest.hexdigest()


def identify_test_split(task: Scored) -> str:
    """Return a digest of the test split and the metric on it.

    A task that does not offer :class:`~compressc.tasks.capabilities.HasTestFingerprint` is known by
    its class and the name of its metric alone: that its test data changed then goes unnoticed.
    """
    digest = hashlib.sha256()
    feed_content(digest, (type(task), task.metric_name))
    if isinstance(task, HasTestFingerprint):
        feed_content(digest, str(task.test_fingerprint()))
    return digest.hexdigest()
