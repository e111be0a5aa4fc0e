"""Shared work: what one of several processes makes for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from compressc.errors import CompresscError
from compressc.process_group import join_processes
from compressc.process_rank import process_count

Made = TypeVar("Made")


def make_on_main(make: Callable[[], Made]) -> Made:
    """Return what the main process makes, in every process that was launched with it.

    Args:
        make: called in the main process alone.

    Raises:
        CompresscError: in every process, if ``make`` raises one.
    """
    if process_count() == 1:
        return make()
    # Importing accelerate takes a second, which a single process need not wait for.
    from accelerate.utils import broadcast_object_list

    state = join_processes()
    outcome: list[tuple[Any, CompresscError | None]] = [(None, None)]
    if state.is_main_process:
        try:
            outcome = [(make(), None)]
        except CompresscError as error:
            outcome = [(None, error)]
    broadcast_object_list(outcome)
    value, problem = outcome[0]
    if problem is not None:
        raise problem
    made: Made = value
    return made
