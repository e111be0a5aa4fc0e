"""What a pass is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from compressc.errors import CompresscError
from compressc.goal import Goal
from compressc.target import Target

if TYPE_CHECKING:
    from compressc.program import Program
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
        target: where and how the result will be run: what a latency in the goal is meant for.
    """

    goal: Goal = field(default_factory=Goal)
    task: Scored | None = None
    progress: Callable[[int, int, str], None] = ignore_progress
    work_dir: Path | None = None
    original: Program | None = None
    target: Target = field(default_factory=Target)

    def rng(self, stream: str) -> np.random.Generator:
        """Return a generator for one named use, the same for the same seed and name."""
        return np.random.default_rng([self.goal.seed, *stream.encode()])


# What a pass reads besides the program.
Needs = Literal["nothing", "samples", "labels"]
# What a pass may change of a program.
Change = Literal["keep", "zero", "rank", "choice", "weights", "graph"]
_DECISIONS: frozenset[Change] = frozenset({"keep", "zero", "rank", "choice"})


@dataclass(frozen=True)
class Declaration:
    """What a pass says about itself; the runner holds it to every word.

    Attributes:
        needs: "nothing" but the program; "samples", the inputs of a task without their labels; or
            "labels", a whole task.
        runs_on: "planned" for a program whose decisions may be pending; "lowered" for one that is
            already small, as training wants it. The plan is then applied before the pass runs.
        channel_step: "given" where channel counts are multiples of the step that the program's
            constraints name. The pass may be run at several steps until one meets the goal. "own"
            where the pass knows by itself which counts are fast: it is called once, with step 1
            unless the user asked for another.
        changes: the parts of the plan that it decides; "weights" where it gives weights new
            values; "graph" where it returns another graph.
        deterministic: whether the same program, goal, seed and data give the same result. False
            for passes that measure time.
    """

    needs: Needs = "nothing"
    runs_on: Literal["planned", "lowered"] = "planned"
    channel_step: Literal["given", "own"] = "given"
    changes: frozenset[Change] = _DECISIONS
    deterministic: bool = True


class Pass(ABC):
    """The base of every pass: a frozen dataclass whose fields are hyper-parameters.

    A pass is called with a program and returns a new one. It promises that the input program is
    unchanged, that the same seed gives the same plan digest, and that the returned plan fits the
    program and survives a save and load. ``tests/test_pass_contract.py`` checks this for every
    registered pass; what ``declares`` says is checked whenever the pass runs.
    """

    name: ClassVar[str]
    declares: ClassVar[Declaration] = Declaration()

    @abstractmethod
    def __call__(self, program: Program, context: Context) -> Program:
        """Return a new program with decisions or weights added."""

    def rehearsal(self) -> Pass:
        """Return what stands in for this pass while a channel step is sought.

        A pass that searches, measures or trains returns a cheap one that raises GoalError where
        the pass itself would, and that comes to about as many channels. The step is found with it,
        and the pass itself is called once, at that step. Any other pass stands for itself.
        """
        return self


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
