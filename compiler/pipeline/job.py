"""The job: everything that is asked for, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from compressc.contract.declaration import Pass
from compressc.contract.registry import find_pass
from compressc.errors import CompresscError
from compressc.goal import Goal, read_goal
from compressc.program import Constraints, Program
from compressc.settings import Repair, Settings
from compressc.target import Target
from compressc.tasks.protocol import Scored, Task, require_task

# What people give where passes are asked for.
Passes = str | Pass | Sequence[str | Pass]


@dataclass(frozen=True, eq=False)
class Job:
    """What is asked for, on the command line as in Python.

    Attributes:
        model: a module, an ONNX model, or a captured Program. One with a pending plan may be
            given with ``passes=()``; then the plan is applied as it is.
        goal: bounds, budget and seed; a number such as 0.5 stands for that ratio of the MACs.
        example_inputs: one positional argument each, batch of 2 or more; for a module only.
        passes: what decides, in order: names, or passes with settings of their own; a single one
            may stand alone. None for what
            :func:`compressc.pipeline.default_recipe.choose_recipe` finds best for goal and data.
        task: data and metric; None where no pass needs data.
        repair: what stands in for data where there is no task.
        constraints: layers that must stay, and so on; None for those of the program.
        multiple_of: channel counts stay multiples of this. None for the constraints' number where
            it is above 1, else for what the target computes fastest, relaxed where the goal cannot
            be met with it.
        target: where and how the result will be run.
        settings: storage, precision, and whether and how long to measure.
        work_dir: where passes keep state that lets them resume; None to keep none.
        name: what to call the model in the report; empty for its class.
    """

    model: nn.Module | onnx.ModelProto | Program
    goal: Goal = field(default_factory=Goal)
    example_inputs: tuple[Any, ...] | Tensor | None = None
    passes: Passes | None = None
    task: Scored | None = None
    constraints: Constraints | None = None
    multiple_of: int | None = None
    target: Target = field(default_factory=Target)
    settings: Settings = field(default_factory=Settings)
    work_dir: str | Path | None = None
    name: str = ""
    repair: Repair = field(default_factory=Repair)

    def __post_init__(self) -> None:
        object.__setattr__(self, "goal", read_goal(self.goal))
        if self.passes is not None:
            object.__setattr__(self, "passes", resolve_passes(self.passes))
        if not self.name:
            object.__setattr__(self, "name", type(self.model).__name__)

    @property
    def chosen_passes(self) -> tuple[Pass, ...] | None:
        """The passes that were asked for; None where the recipe is left to compressc."""
        return None if self.passes is None else resolve_passes(self.passes)

    @property
    def judge(self) -> Task | None:
        """What the bound on the drop is judged by; None where there is no such bound.

        Raises:
            DataError: if there is a bound, but no task with a search-validation split.
        """
        if self.goal.max_drop is None:
            return None
        return require_task(self.task, "--max-drop")

    @property
    def makes_samples(self) -> bool:
        """Whether inputs are made from the network itself, for want of data."""
        if self.task is not None or self.repair.synthetic == "never":
            return False
        removes = bool(self.goal.bounds) or self.goal.latency_ms is not None
        return self.repair.synthetic == "always" or (self.passes is None and removes)

    @property
    def has_samples(self) -> bool:
        """Whether there is a whole task, or will be: samples to repair and judge candidates on."""
        return isinstance(self.task, Task) or self.makes_samples


def resolve_passes(passes: Passes) -> tuple[Pass, ...]:
    """Return the passes that names and passes stand for.

    Raises:
        CompresscError: if no pass has such a name, or something is no pass.
    """
    alone = isinstance(passes, (str, Pass, type)) or not isinstance(passes, Iterable)
    listed: list[Any] = [passes] if alone else list(passes)  # type: ignore[arg-type]
    return tuple(_resolve(entry) for entry in listed)


def _resolve(entry: Any) -> Pass:
    if isinstance(entry, Pass):
        return entry
    if isinstance(entry, str):
        return find_pass(entry)()
    if isinstance(entry, type) and issubclass(entry, Pass):
        raise CompresscError(f"{entry.__name__} is the class of a pass; give {entry.__name__}()")
    raise CompresscError(
        f"{entry!r} is no pass; give a name such as 'magnitude', or an object whose class derives "
        "from compressc.Pass"
    )
