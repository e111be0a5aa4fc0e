"""ASCAI: the whole search."""

from __future__ import annotations

import numpy as np
import pytest

import compressc
from compressc.bounds import Bounds
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.coupling.priced_costs import price_plan
from compressc.errors import DataError, GoalError, OutputError, SearchError
from compressc.goal import Goal
from compressc.passes.ascai import warm_start
from compressc.passes.ascai.genetic_search import Ascai
from compressc.passes.ascai.warm_start import find_thresholds
from compressc.passes.lowrank.factorization import Lowrank
from compressc.passes.spaces.bounding import Bounding
from compressc.passes.spaces.space_building import build_space
from compressc.passes.unit_features.registry import measure_feature
from compressc.plan import Plan
from compressc.program import Program
from compressc.search.evaluation import Evaluator
from compressc.search.history import History
from compressc.search.history_file import read_history
from compressc.tasks.classification import ClassificationTask
from compressc.zero_price import SPARSE
from tests.search_kit import change, make_ascai, trained

SEARCH = make_ascai(population=8, generations=3, spaces=("ps",))


def run(search: Ascai = SEARCH, goal: Goal | None = None, **fields) -> Program:
    program, task = trained()
    return search(program, Context(goal or Goal(), task=task, **fields))


def ratio(program: Program, what: str = "macs") -> float:
    whole = couple(program).cost(Plan())
    cost = price_plan(couple(program), program.plan, SPARSE)
    return getattr(cost, what) / getattr(whole, what)


def validated(program: Program) -> float:
    return trained()[1].validate(compressc.lower(program).module())


@pytest.mark.parametrize(
    "spaces", [("ps",), ("pn",), ("svd",), ("tucker",), ("svd", "tucker"), ("ps", "svd", "tucker")]
)
def test_each_space_finds_something_that_saves_and_is_accurate(spaces):
    found = run(change(SEARCH, spaces=spaces))
    base = validated(trained()[0])
    assert ratio(found) < 1
    assert validated(found) >= base - 5
    notes = found.history[-1].notes
    assert f"{ratio(found):.1%} of the MACs" in notes[0]
    assert f"metric {validated(found):.4g}" in notes[1]
    decided = {kind for kind in ("keep", "zero", "rank") if getattr(found.plan, kind)}
    allowed = {"ps": "keep", "pn": "zero", "svd": "rank", "tucker": "rank"}
    assert decided <= {allowed[space] for space in spaces}


def test_the_report_shows_the_error_of_each_factorised_layer():
    found = run(change(SEARCH, spaces=("svd", "tucker")))
    for layer in found.plan.rank:
        assert any(
            note.startswith(f"{layer}: ") and "relative error" in note
            for note in found.history[-1].notes
        )


def test_it_beats_what_it_began_with(tmp_path):
    search = change(SEARCH, generations=8, elite=1, spaces=("ps", "svd", "tucker"))
    run(search, work_dir=tmp_path)
    best = [max(scored.score for scored in g.population) for g in history(tmp_path).generations]
    assert best == sorted(best)
    assert best[-1] > best[0]


def history(folder) -> History:
    (path,) = folder.glob("ascai-*.jsonl")
    return read_history(path)


def test_the_history_tells_everything(tmp_path):
    found = run(work_dir=tmp_path)
    told = history(tmp_path)
    assert told.head.coordinates == ("ps stem", "ps a", "ps wide")
    assert told.head.base_metric == validated(trained()[0])
    assert told.head.threshold == told.head.base_metric - 5
    assert [g.number for g in told.generations] == list(range(4))
    assert all(len(g.population) == 8 for g in told.generations)
    trials = [g.trials for g in told.generations]
    assert trials == sorted(trials)
    everyone = [scored for g in told.generations for scored in g.population]
    accepted = [scored for scored in everyone if scored.trial.metric >= told.head.threshold]
    best = max(accepted, key=lambda scored: scored.score)
    # The best may be one of those that the thresholds were found with.
    score = float(found.history[-1].notes[0].partition("score ")[2].partition(",")[0])
    assert score >= float(f"{best.score:.4g}")
    assert found.plan.digest in {trial.digest for trial in told.trials}
    assert {scored.trial for scored in everyone} <= set(told.trials)
    assert len(told.trials) == len({trial.digest for trial in told.trials}) == trials[-1]


def test_the_history_can_be_kept_as_a_file_or_a_page(tmp_path):
    short = change(SEARCH, generations=1)
    lines, page = tmp_path / "search.jsonl", tmp_path / "search.html"
    plain = run(short)
    assert run(change(short, history=str(lines))).plan == plain.plan
    run(change(short, history=str(page)))
    assert len(read_history(lines).generations) == 2
    assert page.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(OutputError, match="does not exist"):
        run(change(short, history=str(tmp_path / "no" / "search.html")))


@pytest.mark.parametrize("what", ["macs", "params", "size_bytes"])
def test_bounds_are_met_with_the_best_that_meets_them(what, tmp_path):
    search = change(SEARCH, spaces=("ps", "svd", "tucker"))
    found = run(search, Goal(**{what: 0.5}), work_dir=tmp_path)
    cost, whole = cost_of(found), couple(found).cost(Plan())
    assert getattr(cost, what) <= 0.5 * getattr(whole, what)
    for generation in history(tmp_path).generations:
        for scored in generation.population:
            assert getattr(scored.trial.cost, what) <= 0.5 * getattr(whole, what)


def test_several_bounds_hold_together():
    search = change(SEARCH, spaces=("ps", "svd", "tucker"))
    found = run(search, Goal(macs=0.6, params=0.4))
    assert ratio(found) <= 0.6
    assert ratio(found, "params") <= 0.4


def test_bounds_out_of_reach_say_how_far_it_goes():
    with pytest.raises(GoalError, match=r"macs target 0.001 cannot be reached: searching ps") as e:
        run(goal=Goal(macs=0.001))
    reachable = float(str(e.value).partition("raise the target to about ")[2].split(",")[0])
    assert ratio(run(change(SEARCH, generations=1), Goal(macs=reachable))) <= reachable
    with pytest.raises(GoalError, match="zeros do not count"):
        run(change(SEARCH, spaces=("pn",)), Goal(params=0.5))


def test_a_threshold_out_of_reach_says_how_close_it_came():
    found = None
    with pytest.raises(SearchError, match=r"none of \d+ candidates.*the closest has"):
        found = run(change(SEARCH, generations=0, initialization="naive", search_drop=0.0))
    assert found is None


def test_bounds_that_cost_accuracy_are_met_with_a_remark():
    found = run(goal=Goal(macs=0.05, max_drop=0.0))
    assert ratio(found) <= 0.05
    assert any("short of it before training" in note for note in found.history[-1].notes)


def test_the_threshold_is_the_pass_s_own_or_the_goal_s(tmp_path):
    base = validated(trained()[0])
    for number, (own, goals, drop) in enumerate(
        [(2.0, 9.0, 2.0), (None, 9.0, 9.0), (None, None, 5.0)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        run(change(SEARCH, generations=0, search_drop=own), Goal(max_drop=goals), work_dir=folder)
        assert history(folder).head.threshold == base - drop


@pytest.mark.parametrize(
    ("goal", "budget"),
    [
        (Goal(seconds=0), "0 seconds"),
        (Goal(seconds=0, macs=0.5), "0 seconds"),
        (Goal(seconds=0, trials=9), "9 trials and 0 seconds"),
    ],
)
def test_a_budget_that_ends_at_once_is_named(goal, budget, tmp_path):
    for folder in (None, tmp_path / "not" / "there"):
        with pytest.raises(SearchError) as error:
            run(goal=goal, work_dir=folder)
        assert str(error.value) == (
            f"the budget of {budget} ended before the search began; raise it, or leave it out"
        )


@pytest.mark.parametrize("trials", [10, 40, 75])
def test_the_budget_of_trials_holds(trials, tmp_path):
    search = change(SEARCH, generations=50, p_tweak=0.6)
    run(search, Goal(trials=trials, macs=0.7), work_dir=tmp_path)
    (journal,) = tmp_path.glob("trials-*.jsonl")
    assert trials - 5 <= len(journal.read_text().splitlines()) <= trials


def test_under_bounds_the_first_individual_takes_what_each_layer_bears(tmp_path):
    run(change(SEARCH, generations=0), Goal(macs=0.5), work_dir=tmp_path)
    first = history(tmp_path).generations[0].population[0]
    full = couple(trained()[0]).cost(Plan()).macs
    assert 0.4 < first.trial.cost.macs / full <= 0.5
    assert len(set(np.round(first.point, 3))) > 1  # not all layers alike


def test_bounds_are_met_and_the_most_accurate_wins(tmp_path):
    found = run(
        change(SEARCH, generations=6, spaces=("ps", "svd")), Goal(macs=0.5), work_dir=tmp_path
    )
    everyone = [scored for g in history(tmp_path).generations for scored in g.population]
    full = couple(trained()[0]).cost(Plan()).macs
    assert all(scored.trial.cost.macs <= 0.5 * full for scored in everyone)
    assert validated(found) == pytest.approx(max(scored.trial.metric for scored in everyone))


def bounded(spaces, share, fills):
    program, _ = trained()
    space = build_space(program, spaces, measure_feature(program, "l1"))
    full = couple(program).cost(Plan())
    return space, Bounding(space, Bounds(Goal(macs=share).bounds, full), fills)


@pytest.mark.parametrize("share", [0.5, None])
def test_a_threshold_is_what_a_layer_bears_within_two_points(share, monkeypatch):
    space, bounding = bounded(("ps", "svd"), share, fills=True)
    program, task = trained()
    evaluator = Evaluator(program, task, Goal(macs=share))
    context = Context(Goal(macs=share))
    assessment = change(SEARCH, search_drop=40.0).open_assessment(
        space, bounding, evaluator, context
    )
    thresholds, _ = find_thresholds(assessment)
    alone = np.repeat(space.whole[None], len(thresholds), axis=0)
    np.fill_diagonal(alone, thresholds)
    assessed = assessment.assess(alone, bounded=False)
    assert min(scored.trial.metric for scored in assessed) >= evaluator.base - 2
    assert (thresholds != space.whole).any()
    # With all 40 points of the score's threshold some layer would go further.
    monkeypatch.setattr(warm_start, "_ALONE", 40.0)
    further, _ = find_thresholds(assessment)
    assert (np.abs(further - space.whole) >= np.abs(thresholds - space.whole)).all()
    assert (further != thresholds).any()


@pytest.mark.parametrize("spaces", [("ps",), ("svd", "tucker"), ("ps", "svd", "tucker")])
def test_room_that_a_bound_leaves_is_taken(spaces):
    space, bounding = bounded(spaces, 0.6, fills=True)
    rng = np.random.default_rng(0)
    drawn = space.clip(
        space.whole + rng.random((20, len(space.whole))) * (space.least - space.whole)
    )
    moved = bounding.enforce(drawn)
    full = bounding.bounds.original.macs
    shares = [
        price_plan(couple(space.program), space.plan_of(space.point(v)), SPARSE).macs / full
        for v in moved
    ]
    assert max(shares) <= 0.6
    assert np.mean(shares) > 0.55
    again = bounding.enforce(drawn)
    assert (again == moved).all()


def test_ranks_take_single_steps_into_the_room_that_is_left(monkeypatch):
    space, bounding = bounded(("svd", "tucker"), 0.6, fills=True)
    rng = np.random.default_rng(0)
    drawn = space.clip(
        space.whole + rng.random((20, len(space.whole))) * (space.least - space.whole)
    )
    moved = bounding.enforce(drawn)
    monkeypatch.setattr(Bounding, "_take_steps", lambda _self, values: values)
    before = bounding.enforce(drawn)
    assert (moved >= before).all()
    assert (moved > before).any(axis=1).sum() >= 5


def test_zeros_stay_where_a_bound_does_not_see_them():
    space, bounding = bounded(("ps", "pn"), 0.6, fills=True)
    zeros = np.array([coordinate.method == "pn" for coordinate in space.coordinates])
    drawn = np.full((1, len(zeros)), 0.3)
    for start in (drawn, drawn * 3):
        assert (bounding.enforce(start)[:, zeros] == start[:, zeros]).all()


def test_where_much_may_be_lost_the_start_is_near_that_loss(tmp_path, monkeypatch):
    def start(name):
        folder = tmp_path / name
        folder.mkdir()
        search = change(SEARCH, generations=0, spaces=("pn",), search_drop=20.0)
        run(search, work_dir=folder)
        found = history(folder)
        population = found.generations[0].population
        assert all(scored.trial.metric >= found.head.threshold for scored in population)
        return np.array([scored.point for scored in population])

    near = start("near")
    assert len(set(np.round(near[0], 3))) > 1  # not all layers alike
    monkeypatch.setattr(warm_start, "_ALONE", 20.0)
    assert near.mean() > 1.3 * start("paper").mean()


def test_the_same_seed_finds_the_same_and_another_something_else(tmp_path):
    def populations(name, seed):
        folder = tmp_path / name
        folder.mkdir()
        found = run(goal=Goal(seed=seed), work_dir=folder)
        generations = history(folder).generations
        return found.plan, [scored.point for g in generations for scored in g.population]

    first, again, other = populations("a", 1), populations("b", 1), populations("c", 2)
    assert first == again
    assert first[1] != other[1]


def test_naive_and_warm_starts_differ_as_the_paper_says(tmp_path):
    warm, naive = tmp_path / "warm", tmp_path / "naive"
    for folder in (warm, naive):
        folder.mkdir()
    search = change(SEARCH, generations=0, spaces=("ps", "svd", "tucker"), search_drop=10.0)
    run(search, work_dir=warm)
    search = change(search, initialization="naive", search_drop=99.0)
    run(search, work_dir=naive)
    good, wild = history(warm), history(naive)
    assert all(s.trial.metric >= good.head.threshold for s in good.generations[0].population)
    assert min(s.trial.metric for s in wild.generations[0].population) < good.head.threshold
    spread = [
        np.mean([s.trial.cost.macs for s in h.generations[0].population]) for h in (good, wild)
    ]
    assert spread[0] > spread[1]


@pytest.mark.parametrize("score", ["macs", "params", "size_bytes"])
def test_what_is_saved_can_be_chosen(score, tmp_path):
    run(change(SEARCH, spaces=("ps", "svd"), score=score, generations=2), work_dir=tmp_path)
    told = history(tmp_path)
    scored = told.generations[1].population[0]
    metric = scored.trial.metric
    saved = 1 - getattr(scored.trial.cost, score) / told.head.base[score]
    penalty = max(told.head.base_metric - metric, 0.5)
    if metric < told.head.threshold:
        penalty += np.exp(told.head.threshold - metric)
    assert scored.score == pytest.approx(saved / penalty)


def latency(program: Program) -> float:
    """Return milliseconds, in which only the width of ``a`` counts."""
    mask = program.plan.keep.get("a")
    return 3.0 + (16 if mask is None else int(mask.sum()))


def test_latency_can_be_saved_instead():
    found = run(change(SEARCH, measure_saved=latency, generations=6, least_penalty=5.0))
    assert latency(found) < 19


def test_recalibrated_candidates_leave_their_statistics_in_the_result():
    search = change(SEARCH, spaces=("ps", "svd"), recalibrate=128)
    found = run(search, Goal(macs=0.4))
    stale = compressc.lower(trained()[0].with_plan(found.plan)).module()
    metric = found.history[-1].notes[1]
    assert f"metric {validated(found):.4g}" in metric
    assert "batch norm statistics measured anew" in metric
    assert trained()[1].validate(stale) != validated(found)


@pytest.mark.parametrize("importance", ["magnitude", "reconstruction"])
def test_importance_can_come_from_weights_and_from_reconstruction(importance):
    found = run(change(SEARCH, importance=importance))
    assert found.plan.keep
    assert found.plan != run().plan


def test_it_composes_with_other_passes():
    program, task = trained()
    context = Context(Goal(macs=0.5), task=task)
    ranked = Lowrank(energy=0.5, layers=("b",))(program, Context())
    found = SEARCH(ranked, context)
    assert found.plan.keep
    assert found.plan.rank.keys() <= {"b"}
    assert ratio(found) <= 0.5


class Blind(ClassificationTask):
    """A task whose test split explodes."""

    def evaluate(self, module):
        raise AssertionError("a search must not see the test split")


def test_the_test_split_is_never_touched():
    program, task = trained()
    blind = Blind(task.data, task.classes, task.normalization, batch_size=64)
    assert SEARCH(program, Context(Goal(), task=blind)).plan == run().plan


def test_progress_names_generation_score_and_front():
    seen: list[tuple[int, int, str]] = []
    run(progress=lambda *report: seen.append(report))
    assert all(0 <= done <= total for done, total, _ in seen)
    assert seen[-1][:2] == (3, 3)
    assert seen[-1][2].startswith("generation 3/3: best score ")
    assert "front of" in seen[-1][2]
    candidates = [text for _, _, text in seen if text.startswith("candidate ")]
    assert any("; generation 1/3: best score" in text for text in candidates)


def test_it_needs_a_task():
    with pytest.raises(DataError, match="ascai needs data"):
        SEARCH(trained()[0], Context())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spaces": ()}, "spaces"),
        ({"spaces": ("ps", "prune")}, "spaces ps,prune"),
        ({"p_swap": 1.5}, "p_swap 1.5"),
        ({"score": "latency", "spaces": ("ps", "svd")}, "score latency: .* not ps,svd"),
        ({"population": 2}, "population 2"),
        ({"elite": 8}, "elite 8"),
        ({"generations": -1}, "generations -1"),
        ({"least_penalty": 0.0}, "least_penalty"),
        ({"search_drop": -1.0}, "search_drop"),
        ({"search_drop": float("nan")}, "search_drop"),
        ({"importance_samples": 0}, "importance_samples"),
        ({"workers": -1}, "workers"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(GoalError, match=message):
        change(SEARCH, **fields)
