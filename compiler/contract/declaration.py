"""What a pass is, and what it says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from compressc.contract.context import Context
from compressc.program import Program

# What a pass reads besides the program.
Needs = Literal["nothing", "samples", "labels"]
# What a pass may change of a program.
Change = Literal["keep", "zero", "rank", "choice", "weights", "graph"]
# The changes that stand in a plan.
DECISIONS: frozenset[Change] = frozenset({"keep", "zero", "rank", "choice"})


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
    changes: frozenset[Change] = DECISIONS
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
