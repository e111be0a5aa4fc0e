"""What a pass is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np

from compressc.errors import CompresscError
from compressc.goal import Goal

if TYPE_CHECKING:
    from compressc.program import Program
    from compressc.runtime.cost_table import CostTable
    from compressc.tasks.protocol import Scored

ENTRY_POINT_GROUP = "compressc.passes"


def ignore_progress(_done: int, _total: int, _text: str) -> None:
    """Progress callback that shows nothing."""


@dataclass(frozen=True)
class Context:
    """What a pass may use besides the program.

    Attributes:
        goal: bounds, budget and seed.
        task: data, loss and metric, or None for passes that need no data.
        progress: called with (done, total, text).
        work_dir: where resumable state goes, or None to keep none. A pass gets a folder of its
            own, which need not exist yet and is removed when the pass is done.
        original: the program before any pass, such as a teacher of distillation.
        threads, batch: how the result will be run: what a latency in the goal is meant at.
        cost_table: of the device it will be run on; None for this machine.
    """

    goal: Goal = field(default_factory=Goal)
    task: Scored | None = None
    progress: Callable[[int, int, str], None] = ignore_progress
    work_dir: Path | None = None
    original: Program | None = None
    threads: int = 1
    batch: int = 1
    cost_table: CostTable | None = None

    def rng(self, stream: str) -> np.random.Generator:
        """Return a generator for one named use, the same for the same seed and name."""
        return np.random.default_rng([self.goal.seed, *stream.encode()])


@runtime_checkable
class Pass(Protocol):
    """A frozen dataclass whose fields are hyper-parameters, called on a program.

    Promises, checked for every registered pass by ``tests/test_pass_contract.py``: the input
    program is unchanged, the same seed gives the same plan digest, the returned plan fits the
    program and survives a save and load.

    A pass that trains sets ``on_lowered: ClassVar[bool] = True``. It is called with a program
    without pending decisions, already small, and returns one with new weights.

    A pass that decides channel counts may be run at several channel steps, until one meets the
    goal (see :mod:`compressc.pipeline.decisions`). Two things spare it from that:

    - ``own_step: ClassVar[bool] = True``: it knows itself which counts are fast. It is called once,
      with a program of step 1 unless the user asked for another.
    - ``rehearsal() -> Pass``: a method for passes that search, measure or train. It returns a cheap
      pass that raises GoalError where the pass itself would, and comes to about as many channels.
      The step is found with it, and the pass itself is called once, at that step.
    """

    name: ClassVar[str]

    def __call__(self, program: Program, context: Context) -> Program:
        """Return a new program with decisions or weights added."""
        ...


def is_on_lowered(one: Pass) -> bool:
    """Return whether a pass wants the plan applied before it runs: it trains what is left."""
    return bool(getattr(one, "on_lowered", False))


def has_own_step(one: Pass) -> bool:
    """Return whether a pass chooses counts that are fast without being given a step."""
    return bool(getattr(one, "own_step", False))


def rehearsal_of(one: Pass) -> Pass:
    """Return what stands in for a pass while the channel step is sought: cheap, or itself."""
    rehearse = getattr(one, "rehearsal", None)
    return rehearse() if callable(rehearse) else one


def registered_passes() -> dict[str, str]:
    """Return the installed passes: name to ``module:attribute``, without importing them."""
    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}


def find_pass(name: str) -> type[Pass]:
    """Return the pass class registered under ``name``.

    Raises:
        CompresscError: if no installed package registers the name, or it cannot be imported.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            try:
                found: type[Pass] = entry.load()
            except (ImportError, AttributeError) as error:
                lacking = getattr(error, "name", None)
                cure = f"install {lacking}" if isinstance(error, ImportError) and lacking else ""
                raise CompresscError(
                    f"pass '{name}' cannot be imported ({error}); "
                    f"{cure or 'repair or remove the package that brings ' + entry.value}"
                ) from error
            return found
    known = ", ".join(sorted(registered_passes())) or "none; reinstall compressc"
    raise CompresscError(f"no pass is called '{name}'; installed passes: {known}")
