"""RL-MCTS: the pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from compressc.array_types import FloatArray
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.errors import GoalError, PlanError
from compressc.pass_fields import read_settings
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.passes.rl_mcts.masked_cut import MaskedCut
from compressc.passes.rl_mcts.preparation import prepare
from compressc.passes.rl_mcts.search_run import SearchRun
from compressc.passes.rl_mcts.settings import Judging, Learning, Lookahead
from compressc.passes.unit_features.registry import FeatureName, measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.program import Program
from compressc.search.executors import open_executor
from compressc.tasks.protocol import require_task
from compressc.writing import check_writable

# Settings that say where to compute and what to write, which changes no result.
_PLACES = ("workers", "dask", "history", "save_network")


@dataclass(frozen=True)
class RlMcts(Pass):
    """Find the units to remove by self-play: tree search with a policy and value network.

    A state says which units are left; a move removes one of them, or a few of one group. A game is
    over when the target is met, and won where the slimmed network beats a baseline, which rises
    with every iteration that beats it. The target falls in segments; each begins where the best
    end of the one before it is. Candidates are judged on search-validation; the test split is never
    touched. The best candidate that was judged is returned, whether a move or a simulation led to
    it. State goes to the work directory after every iteration, trials as they are made; a search
    that was killed goes on to the same result.

    Attributes:
        lookahead: how the search looks ahead, and what a game is.
        learning: how the network learns.
        judging: how candidates are judged.
        weights: with which weights candidates are judged, and the result is handed over.
        feature_samples: training samples on which features of units are measured.
        epochs_per_segment: of fine-tuning after every segment, with features measured anew; needs
            ``judge`` "as-cut". 0 goes on with the network as it was cut.
        history: file for the history of the search: a page with plots if its name ends in .html,
            else JSON lines.

    Source:
        Wang and Li, Channel Pruning via Lookahead Search Guided Reinforcement Learning, WACV 2022.

    Deviations:
        A guide gives the policy a start that the paper does not have, and follows the best
        candidate so far; ``--guide none`` is the paper's. The baseline rises after an iteration,
        not within one. Trees from one root differ by noise in the root's prior, as AlphaZero's do.
        Candidates are judged with refitted layers; ``--judge as-cut --judged-on training`` is the
        paper's. Few ends that simulations come to are judged (``ends_per_game``); for the others,
        and where the trials of a segment are spent, the network's expectation stands in. The
        network is described in :mod:`compressc.passes.rl_mcts.policy_value_network`.

    Raises:
        GoalError: if a number is out of range.
    """

    lookahead: Lookahead = field(default_factory=Lookahead)
    learning: Learning = field(default_factory=Learning)
    judging: Judging = field(default_factory=Judging)
    weights: JudgedWeights = field(default_factory=JudgedWeights)
    feature_samples: int = 512
    epochs_per_segment: int = 0
    history: str = ""
    name: ClassVar[str] = "rl-mcts"
    declares: ClassVar[Declaration] = Declaration(
        needs="judge", changes=frozenset({"keep", "weights"})
    )

    def __post_init__(self) -> None:
        if self.feature_samples < 1:
            raise GoalError(f"feature_samples {self.feature_samples}: at least 1 is needed")
        if self.epochs_per_segment < 0:
            raise GoalError(f"epochs_per_segment {self.epochs_per_segment}: must be 0 or more")
        if self.epochs_per_segment and self.weights.judge == "repaired":
            raise GoalError(
                f"epochs_per_segment {self.epochs_per_segment}: what is trained is not refitted to "
                "the original; give --judge as-cut, or leave --epochs-per-segment out"
            )

    def rehearsal(self) -> Pass:
        """Return a pass that plays one game by the norms of weights, without data."""
        return MaskedCut(self.lookahead.mask)

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan, and new weights where it was trained on the way.

        Raises:
            DataError: if there is no task, or it does not give what is asked of it.
            GoalError: if there is nothing to aim at, or the goal cannot be met.
            SearchError: if the budget ends before anything is judged.
            PlanError: if nothing can be pruned, or training meets zeros or ranks that are pending.
            FeatureError: if a feature is no number.
            PolicyError: if a saved network cannot be used.
            OutputError: if a file cannot be written.
            ExecutorError: if workers cannot be reached, or are lost again and again.
        """
        task = require_task(context.task, self.name)
        if self.epochs_per_segment and (program.plan.zero or program.plan.rank):
            raise PlanError(
                f"{self.name} trains between segments, but zeros or ranks are pending; put it "
                "before the pass that decides them, or leave --epochs-per-segment out"
            )
        for path in (self.history, self.learning.save_network):
            if path:
                check_writable(path)
        context.progress(0, 1, "measuring features of units")

        def measure(measured: Program, feature: FeatureName) -> Mapping[str, FloatArray]:
            samples = UnitSamples(task, self.feature_samples, context.goal.seed, self.name)
            return measure_feature(measured, feature, samples)

        prepared = prepare(program, context, self.lookahead, measure, self.name)
        settings = {n: v for n, v in read_settings(self).items() if n not in _PLACES}
        with open_executor(self.judging.workers, self.judging.dask) as executor:
            run = SearchRun(
                self.name,
                self.lookahead,
                self.learning,
                self.judging,
                self.weights,
                self.epochs_per_segment,
                settings,
                program,
                task,
                context,
                executor,
                measure,
            )
            return run.run(prepared, self.history)
