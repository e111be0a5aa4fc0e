"""Joining the processes that were launched together, and leaving them in good time."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

import torch

from compressc.errors import CompresscError

if TYPE_CHECKING:
    from accelerate import PartialState


def join_processes() -> PartialState:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started, or be the only one.

    Joining twice is joining once. The group is left before the interpreter ends: otherwise gloo's
    threads live on while Python is taken down, and now and then the process aborts with
    "terminate called without an active exception" after its work is done (pytorch/pytorch issue
    190489).

    Raises:
        CompresscError: if the launcher's environment is incomplete.
    """
    # Importing accelerate takes a second, which a single process need not wait for.
    from accelerate import PartialState

    try:
        # Without a GPU, accelerate looks for other processes only when told.
        state = PartialState(cpu=not torch.accelerator.is_available())
    except ValueError as error:
        raise CompresscError(f"the processes cannot be joined: {error}") from error
    # A function that is registered again after it was taken back is called once.
    atexit.unregister(_leave)
    atexit.register(_leave)
    return state


def _leave() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
