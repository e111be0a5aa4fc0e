"""One run of the search, from what is prepared to the program with its plan."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.passes.reconstruction.moment_repair import MomentRepair
from compressc.passes.reconstruction.repaired_plans import repair_plans
from compressc.passes.rl_mcts.aims import count_segments
from compressc.passes.rl_mcts.arena import Arena, Champion
from compressc.passes.rl_mcts.channel_search import ChannelSearch, Ground, Outcome
from compressc.passes.rl_mcts.criteria import Standard, choose_judge
from compressc.passes.rl_mcts.learner import Learner
from compressc.passes.rl_mcts.network_file import save_network
from compressc.passes.rl_mcts.outcome import describe_outcome, require_judged
from compressc.passes.rl_mcts.preparation import MeasureOf, Prepared
from compressc.passes.rl_mcts.resumption import open_history
from compressc.passes.rl_mcts.retrained_arena import Retraining
from compressc.passes.rl_mcts.settings import Judging, Learning, Lookahead
from compressc.passes.rl_mcts.standing import Saved, Standing
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.reporting.search_page import write_search
from compressc.search.batch_norms import with_statistics
from compressc.search.evaluation import Evaluator
from compressc.search.history import SearchHead
from compressc.search.history_file import Recorder
from compressc.search.trials import Trial
from compressc.search.validation_sample import sample_validation
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.protocol import Task

# Candidates of a segment besides the ends of the games of two iterations: what rules come to.
_RULES = 4


@dataclass(frozen=True, eq=False)
class SearchRun:
    """A search with everything that it needs.

    Attributes:
        name: the pass.
        lookahead, learning, judging, weights: its settings.
        epochs: of training between segments.
        settings: all that decide the result, by name.
        program: the whole network.
        task: judges.
        context: goal, progress, work directory.
        executor: where candidates are judged.
        measure: measures features of units.
    """

    name: str
    lookahead: Lookahead
    learning: Learning
    judging: Judging
    weights: JudgedWeights
    epochs: int
    settings: Mapping[str, Any]
    program: Program
    task: Task
    context: Context
    executor: Executor
    measure: MeasureOf

    def run(self, prepared: Prepared, history: str) -> Program:
        """Search; return the program with the best plan.

        Args:
            prepared: what is known before.
            history: file for the history, or empty.

        Raises:
            DataError: if the task does not give what is asked of it.
            SearchError: if the budget ends before anything is judged.
            PolicyError: if a saved network cannot be used.
            OutputError: if a file cannot be written.
            ExecutorError: if workers are lost again and again.
        """
        started = time.perf_counter()
        units = prepared.route.units
        repair = self.weights.open_repair(
            units.program, self.task, self.context.goal.seed, self.name, self.context.progress
        )
        evaluator = self._open_evaluator(units.program, self.context.goal, repair)
        standard = Standard(evaluator.base, self.judging.criterion.startswith("absolute"))
        store = self._open_store(evaluator)
        recorder, saved = open_history(self._head(prepared, evaluator), store, self.name)
        arena = Arena(units, evaluator, standard, recorder)
        learner = Learner(self.learning, prepared.sheet, self.context.goal.seed)
        retraining = self._make_retraining(prepared) if self.epochs else None
        standing = Standing(0, 0, 0, units.everything, -inf, None)
        if saved is not None:
            standing = saved.standing
            arena = _go_on(saved, arena, learner, retraining, recorder)
        ground = Ground(
            prepared,
            self._count_segments(prepared),
            self.lookahead,
            self.context,
            store,
            bool(self.learning.save_network),
        )
        search = ChannelSearch(ground, arena, learner, retraining)
        outcome = search.run(standing)
        require_judged(outcome, search.arena, self.context.goal.budget)
        if history:
            write_search(history, recorder.history)
        if self.learning.save_network:
            save_network(self.learning.save_network, learner.network, learner.width)
        return self._decide(search, ground, outcome, retraining, repair, started)

    def _decide(
        self,
        search: ChannelSearch,
        ground: Ground,
        outcome: Outcome,
        retraining: Retraining | None,
        repair: MomentRepair | None,
        started: float,
    ) -> Program:
        """Return the program with the plan, and with what was trained and measured on the way."""
        units = ground.prepared.route.units
        outcome, finalist = self._choose_finalist(search, ground, outcome)
        plan = units.plan_of(outcome.kept)
        decided = self.program.with_plan(plan)
        if retraining is not None:
            trained = HistoryLine("finetune", notes=(f"{self.epochs} epochs after every segment",))
            decided = decided.with_state(retraining.program.state()).with_line(trained)
        if finalist is not None:
            decided = replace(finalist, history=decided.history)
        elif repair is not None:
            decided = repair.repaired(decided)
        evaluator = search.arena.evaluator
        if self.judging.recalibrate and finalist is None:
            decided = with_statistics(decided, evaluator.calibration)
        numbers = {
            "search_seconds": time.perf_counter() - started,
            "evaluation_seconds": search.evaluation_seconds,
            "network_seconds": search.foresight.seconds,
            "network_training_seconds": search.learner.seconds,
            "simulations": float(outcome.simulations),
            "candidates": float(len(search.arena.recorder.history.trials)),
        }
        latency = ground.prepared.route.latency
        if latency is not None:
            numbers["predicted_latency_ms"] = latency.predict(np.array(units.counts(outcome.kept)))
            numbers["original_latency_ms"] = latency.original_ms
        notes = describe_outcome(outcome, search.arena, ground, plan)
        return decided.with_line(HistoryLine(self.name, notes=notes, numbers=numbers))

    def _choose_finalist(
        self, search: ChannelSearch, ground: Ground, outcome: Outcome
    ) -> tuple[Outcome, Program | None]:
        """Return the outcome whose network is best after ``calibrate``, and that network.

        None where candidates are judged as they are cut, or no finalists are asked for.
        """
        count = self.weights.finalists if self.weights.judge == "repaired" else 0
        if not count or outcome.champion is None:
            return outcome, None
        seed = self.context.goal.seed
        samples = self.judging.conditions(seed).samples
        judge = sample_validation(self._choose_judge(), samples, seed)
        finalists = search.list_finalists(count)
        plans = [ground.prepared.route.units.plan_of(champion.kept) for champion in finalists]
        repaired = repair_plans(
            self.program.with_plan(Plan()), plans, judge, self.context, self.weights.repair_samples
        )
        score = search.arena.standard.score
        best = max(range(len(plans)), key=lambda place: score(repaired[place].metric))
        trial = replace(finalists[best].trial, metric=repaired[best].metric)
        champion = Champion(finalists[best].kept, trial, score(trial.metric))
        return replace(outcome, kept=champion.kept, champion=champion), repaired[best].program

    def _choose_judge(self) -> Task:
        judging = self.judging
        return choose_judge(
            self.task,
            judging.criterion,
            judging.judged_on,
            judging.val_samples,
            self.context.goal.seed,
        )

    def _open_evaluator(
        self, program: Program, goal: Goal, repair: MomentRepair | None = None
    ) -> Evaluator:
        seed, judging = self.context.goal.seed, self.judging
        return Evaluator(
            program,
            self._choose_judge(),
            goal,
            judging.conditions(seed),
            repair=repair,
            executor=self.executor,
            work_dir=self.context.work_dir,
        )

    def _open_store(self, evaluator: Evaluator) -> Store | None:
        """Return where the search is kept, under everything that decides its result."""
        if self.context.work_dir is None:
            return None
        start = self.learning.start_network
        network = Path(start).read_bytes() if start and Path(start).is_file() else b""
        target = None if self.context.goal.latency_ms is None else self.context.target
        own = identify(
            self.name,
            evaluator.identity,
            dict(self.settings),
            network,
            goal=self.context.goal,
            target=target,
        )
        return Store(self.context.work_dir, own)

    def _head(self, prepared: Prepared, evaluator: Evaluator) -> SearchHead:
        groups = prepared.route.units.groups
        return SearchHead(
            search=self.name,
            coordinates=tuple(group.name for group in groups),
            ends=((0.0, 1.0),) * len(groups),
            base_metric=evaluator.base,
            base=asdict(prepared.route.bounds.original),
            threshold=evaluator.base,
            settings=dict(self.settings),
        )

    def _count_segments(self, prepared: Prepared) -> int:
        rule = self.lookahead
        least = _RULES + 2 * rule.self_plays * (1 + rule.ends_per_game)
        trials = self.context.goal.trials
        return count_segments(prepared.route.length, rule.segment, trials, least)

    def _make_retraining(self, prepared: Prepared) -> Retraining:
        return Retraining(
            prepared.route.units,
            prepared.sheet,
            self.epochs,
            self.context,
            self.measure,
            self._open_evaluator,
            self.name,
        )


def _go_on(
    saved: Saved, arena: Arena, learner: Learner, retraining: Retraining | None, recorder: Recorder
) -> Arena:
    """Put everything where an earlier run left it; return the arena of then."""
    learner.load(saved.learned)
    if retraining is not None and saved.retrained:
        arena = retraining.restore(saved.retrained, arena)
        learner.sheets += retraining.sheets
    events = recorder.history.events[saved.standing.first_event :]
    arena.recall(event for event in events if isinstance(event, Trial))
    return arena
