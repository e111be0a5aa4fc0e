"""The evaluation engine: memo, budget, journal, workers that lack the weights or die."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from compressc.coupling.graph import couple
from compressc.errors import ExecutorError
from compressc.goal import Goal
from compressc.passes.reconstruction.judged_weights import JudgedWeights
from compressc.plan import Plan
from compressc.search.evaluation import Conditions, Evaluator
from compressc.search.executors import InProcess
from compressc.tasks.classification import ClassificationTask
from tests.plans import random_plan
from tests.search.fake_cluster import FakeCluster
from tests.search_kit import trained


def plans(count: int) -> list[Plan]:
    program, _ = trained()
    found = {}
    seed = 0
    while len(found) < count:
        plan = random_plan(couple(program), seed)
        found[plan.digest] = plan
        seed += 1
    return list(found.values())


class Counting(InProcess):
    """Counts what is really evaluated."""

    def __init__(self) -> None:
        self.done = 0

    def submit(self, fn, /, *args, **kwargs):
        self.done += 1
        return super().submit(fn, *args, **kwargs)


def evaluator(goal: Goal | None = None, **options) -> Evaluator:
    program, task = trained()
    return Evaluator(program, task, goal or Goal(), **options)


def test_trials_say_what_the_network_achieves_and_costs():
    program, task = trained()
    engine = evaluator()
    assert engine.base == task.validate(program.module()) > 80
    for plan, trial in zip(plans(3), engine.evaluate(plans(3)), strict=True):
        assert trial.digest == plan.digest
        assert trial.cost == couple(program).cost(plan)
        assert 0 <= trial.metric <= engine.base + 5


def test_each_plan_is_evaluated_once():
    executor = Counting()
    engine = evaluator(executor=executor)
    first, second, third = plans(3)
    found = engine.evaluate([first, second, first])
    assert executor.done == 2
    assert found[0] == found[2]
    engine.evaluate([second, third, third])
    assert executor.done == 3
    assert len(engine.trials) == 3


def test_the_budget_of_trials_holds_and_counts_no_repeats():
    executor = Counting()
    engine = evaluator(Goal(trials=3), executor=executor)
    a, b, c, d = plans(4)
    assert None not in engine.evaluate([a, b, a])
    assert engine.remaining == 1
    found = engine.evaluate([a, c, d])
    assert [one is None for one in found] == [False, False, True]
    assert executor.done == 3
    assert engine.is_spent
    assert engine.evaluate([b, d]) == [engine.trials[b.digest], None]


def test_the_budget_of_seconds_holds():
    executor = Counting()
    engine = evaluator(Goal(seconds=0.0), executor=executor)
    assert engine.is_spent
    assert engine.evaluate(plans(2)) == [None, None]
    assert executor.done == 0


def test_an_interrupted_search_finds_its_trials_again(tmp_path):
    first = evaluator(work_dir=tmp_path)
    wanted = first.evaluate(plans(3))
    executor = Counting()
    again = evaluator(Goal(trials=4), work_dir=tmp_path, executor=executor)
    assert again.evaluate(plans(3)) == wanted
    assert executor.done == 0
    # What is found again is counted again, so that the search ends where it would have ended.
    assert again.remaining == 1
    again.evaluate(plans(6))
    assert executor.done == 1


def test_other_conditions_have_a_journal_of_their_own(tmp_path):
    program, task = trained()
    evaluator(work_dir=tmp_path).evaluate(plans(2))
    for options in (
        {"conditions": Conditions(samples=100)},
        {"conditions": Conditions(recalibrate=64)},
        {"task": replace(task, batch_size=1)},
        {"repair": JudgedWeights().open_repair(program, task, 0, "test", lambda *_: None)},
    ):
        executor = Counting()
        other = Evaluator(
            program,
            **{"task": task, "goal": Goal(), "executor": executor, **options},
            work_dir=tmp_path,
        )
        other.evaluate(plans(2))
        assert executor.done == 2


def test_recalibration_helps_the_cut_network():
    stale = evaluator().evaluate(plans(6))
    fresh = evaluator(conditions=Conditions(recalibrate=128)).evaluate(plans(6))
    assert sum(t.metric for t in fresh) > sum(t.metric for t in stale) + 20


def test_repaired_candidates_are_better_than_as_they_are_cut():
    program, task = trained()
    repair = JudgedWeights().open_repair(program, task, 0, "test", lambda *_: None)
    cut = evaluator().evaluate(plans(6))
    mended = evaluator(repair=repair).evaluate(plans(6))
    assert sum(t.metric for t in mended) > sum(t.metric for t in cut) + 20
    assert [t.digest for t in mended] == [t.digest for t in cut]


class NoTest(ClassificationTask):
    """A task that cannot be tested."""

    def evaluate(self, module: nn.Module) -> float:
        raise AssertionError("a search must not see the test split")


def test_the_test_split_is_never_looked_at():
    program, task = trained()
    guarded = NoTest(task.data, task.classes, task.normalization)
    assert None not in Evaluator(program, guarded, Goal()).evaluate(plans(2))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_give_the_same_trials_and_the_judge_travels_about_once(monkeypatch, workers):
    cluster = FakeCluster(monkeypatch, workers)
    found = evaluator(executor=cluster).evaluate(plans(40))
    wanted = evaluator().evaluate(plans(40))
    assert [(t.digest, t.metric, t.cost) for t in found] == [
        (t.digest, t.metric, t.cost) for t in wanted
    ]
    assert 1 <= cluster.sent <= 4 * workers


def test_workers_that_die_are_replaced(monkeypatch):
    cluster = FakeCluster(monkeypatch, 3, deaths={2, 9, 10, 25})
    found = evaluator(executor=cluster).evaluate(plans(30))
    assert [t.metric for t in found] == [t.metric for t in evaluator().evaluate(plans(30))]
    assert cluster.sent <= 30


def test_a_candidate_that_kills_every_worker_ends_the_search(monkeypatch):
    cluster = FakeCluster(monkeypatch, 2, deaths=set(range(1, 1000)))
    with pytest.raises(ExecutorError, match="4 workers died over it"):
        evaluator(executor=cluster).evaluate(plans(1))


def test_errors_of_candidates_are_not_taken_for_dead_workers():
    from compressc.errors import PlanError

    with pytest.raises(PlanError, match="no layer"):
        evaluator().evaluate([Plan(rank={"nothing": (1,)})])


def test_progress_counts_candidates():
    seen = []
    evaluator(progress=lambda done, total, _: seen.append((done, total))).evaluate(plans(3))
    assert seen == [(1, 3), (2, 3), (3, 3)]
