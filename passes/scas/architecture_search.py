"""SCAS: the pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from compressc.choices.branches import read_branches
from compressc.choices.space import AnySpace, find_space
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.errors import BudgetError, ChoiceError, SplitError
from compressc.layer_names import owner_of
from compressc.passes.scas.controllers.catalogue import CONTROLLERS
from compressc.passes.scas.controllers.controller import Ground
from compressc.passes.scas.ranking import Ranked, rank_architectures
from compressc.passes.scas.search_lesson import SearchLesson
from compressc.passes.scas.settings import ScasSettings
from compressc.passes.scas.supernet import Supernet
from compressc.passes.training.engine import Course, run_epochs
from compressc.passes.training.precision import Precision, choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.randomness import seeded
from compressc.passes.training.standing import Standing
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.capabilities import CountsValidation
from compressc.tasks.protocol import Task, require_task
from compressc.tasks.training_length import count_training_steps

# Settings that say where to compute, which changes no result.
_PLACES = {"workers": 0, "dask": ""}
# Fewer search-validation samples than this rank nothing.
_FEWEST = 20
_SHOWN = 3
# The stream of random numbers that the controller begins with.
_BEGINNING = 3


@dataclass(frozen=True)
class Scas(ScasSettings, Pass):
    """Choose an architecture for what is left of it when most of its weights are zero.

    The program is a supernet: it has architecture nodes (:func:`compressc.choose`). Its shared
    weights learn through architectures that a controller proposes; after every epoch they are
    pruned and fixed, and the controller learns from how architectures do with what is left. At the
    end some are ranked, and the best becomes the plan's choice. Train it from scratch then, under
    the same sparsity: ``--pass gradual --from-scratch yes``. With sparsity 0 the same code is the
    search without pruning. With ``--work-dir`` a run that was cut off goes on after its last epoch.

    The attributes are those of :class:`compressc.passes.scas.settings.ScasSettings`.

    Source:
        Yeshwanth V. et al., Sparse CNN Architecture Search (SCAS), Algorithms 1 to 3; the paper
        itself was not at hand, its summary in the issue was.

    Deviations:
        In the search masks rise along the cubic ramp over its first half; controllers always see
        weights that are pruned to the whole sparsity. Batch norms run on the statistics of the
        batch, and are measured anew for the ranking.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
        BudgetError: if not even one generation of architectures can be looked at.
    """

    name: ClassVar[str] = "scas"
    declares: ClassVar[Declaration] = Declaration(needs="judge", changes=frozenset({"choice"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with every architecture node decided.

        Raises:
            ChoiceError: if there is nothing to choose, or it is chosen already.
            SpaceError: if the space does not exist.
            DataError: if there is no task, or no training data.
            SplitError: if search-validation is too small to rank by.
            BudgetError: if the goal allows fewer trials than one generation has.
            ControllerError: if the controller becomes NaN.
            OutputError: if state cannot be written.
        """
        task = require_task(context.task, self.name)
        space = find_space(self.space) if self.space else AnySpace()
        self._check(program, task, context)
        start = replace(program, plan=Plan())
        processes = Processes()
        precision = choose_precision(self.precision, processes.device)
        steps = count_training_steps(task, context.goal.seed, self.name)
        name = space.controller if self.controller == "auto" else self.controller
        kind = CONTROLLERS[name]
        with seeded(processes.device, context.goal.seed, _BEGINNING):
            generated = kind.generated_weights(start)
            supernet = Supernet(start, processes.device, self, generated)
            ground = Ground(supernet, task, space, self, context.goal.seed)
            controller = kind(ground)
        lesson = SearchLesson(ground, controller, processes, steps, precision)
        course = self._course(start, task, context, processes, steps, precision)
        standing = run_epochs(course, lesson)
        if standing.diverged:
            lesson.load(dict(standing.kept))
        ranked = rank_architectures(
            start,
            self._pruned(supernet),
            lesson.finalists(),
            task,
            self,
            context,
            controller.repair(),
        )
        best = dict(ranked[0].choice)
        decided = program.with_plan(program.plan.with_choice(best))
        notes = (*self._describe(standing, ranked, supernet), _describe_cost(decided))
        pictures = space.draw(supernet.choices, best)
        return decided.with_line(HistoryLine(self.name, notes=notes, pictures=pictures))

    def rehearsal(self) -> Pass:
        """Return a pass that takes the first candidate of everything: no channel step is sought."""
        return _Rehearsal()

    def _check(self, program: Program, task: Task, context: Context) -> None:
        branches = read_branches(program.graph_module.graph)
        if not branches.choices:
            raise ChoiceError(
                "scas finds nothing to choose: the model has no architecture node; build one with "
                "compressc.choose, or take a space: compressc search --space enas-macro --data DIR"
            )
        if program.plan.choice:
            raise ChoiceError("the architecture is chosen already; lower the program")
        if isinstance(task, CountsValidation) and task.count_validation() < _FEWEST:
            raise SplitError(
                f"search-validation has {task.count_validation()} samples; architectures cannot be "
                f"ranked by fewer than {_FEWEST}; give more data"
            )
        trials = context.goal.trials
        if trials is not None and trials < self.children:
            raise BudgetError(
                f"{trials} trials are too few for one generation of {self.children} architectures; "
                "give more --trials, or fewer --children"
            )

    def _course(
        self,
        program: Program,
        task: Task,
        context: Context,
        processes: Processes,
        steps: int,
        precision: Precision,
    ) -> Course:
        store = None
        if context.work_dir is not None:
            identity = identify(
                "architectures",
                replace(self, **_PLACES),  # type: ignore[arg-type]
                str(precision),
                program=program,
                task=task,
                seed=context.goal.seed,
            )
            store = Store(context.work_dir, identity)
        return Course(
            name=self.name,
            task=task,
            seed=context.goal.seed,
            epochs=self.epochs,
            steps=steps,
            keeps="last",
            patience=0,
            processes=processes,
            store=store,
            progress=context.progress,
        )

    def _pruned(self, supernet: Supernet) -> dict[str, Tensor]:
        supernet.masks.prune(self.sparsity)
        masks = supernet.masks
        state = masks.apply(supernet.module.state_dict(), masks.masks)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def _describe(
        self, standing: Standing, ranked: list[Ranked], supernet: Supernet
    ) -> tuple[str, ...]:
        """Return remarks on the search."""
        metrics = [entry.metric for entry in ranked]
        decisions = ", ".join(f"{n}={i}" for n, i in ranked[0].choice.items())
        notes = [
            f"{standing.epoch} of {self.epochs} epochs of shared weights at {100 * self.sparsity:g}"
            f" % zeros; {len(ranked)} architectures ranked on search-validation: best "
            f"{max(metrics):.2f}, mean {sum(metrics) / len(metrics):.2f}, worst {min(metrics):.2f}",
            f"chosen: {decisions}",
        ]
        floored = supernet.masks.floored(self.sparsity)
        if floored:
            shown = ", ".join(owner_of(name) for name in floored[:_SHOWN])
            more = f" and {len(floored) - _SHOWN} more" if len(floored) > _SHOWN else ""
            notes.append(
                f"{100 * self.sparsity:g} % zeros would leave too little of {len(floored)} "
                f"layer(s), which keep {self.floor} weights each: {shown}{more}"
            )
        if standing.remark:
            notes.append(standing.remark)
        if standing.diverged:
            notes.append(
                f"the search stopped: {standing.diverged}; what was learned up to epoch "
                f"{standing.kept_epoch} is used; give a lower learning rate than {self.peak_rate:g}"
            )
        return tuple(notes)


@dataclass(frozen=True)
class _Rehearsal(Pass):
    """Takes the first candidate of every choice."""

    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"choice"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with every architecture node decided."""
        del context
        choices = read_branches(program.graph_module.graph).choices
        return program.with_plan(program.plan.with_choice({entry.name: 0 for entry in choices}))


def _describe_cost(program: Program) -> str:
    """Return what the chosen architecture costs without zeros."""
    coupling = couple(program)
    cost, whole = coupling.cost(program.plan), coupling.cost(Plan())
    return (
        f"the architecture has {cost.macs} MACs and {cost.params} parameters; all candidates "
        f"together have {whole.macs} and {whole.params}"
    )
