"""The history of a search as one self-contained HTML page with plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressc.bounds import COST_WORDS
from compressc.reporting.curves import draw_curves, draw_field
from compressc.reporting.drawing import COLOUR, Picture
from compressc.reporting.templates import load_template
from compressc.search.history import Generation, History, ScoredPoint
from compressc.search.history_file import write_history
from compressc.writing import write_text

# Generations whose whole population is shown.
_SHOWN = 3
_DIGITS = 4
_MOST_ROWS = 60


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, what is to be known of its pictures, and these."""

    title: str
    drawn: tuple[str, ...]
    remark: str = ""
    names_columns: bool = False


def render_search(history: History, what: str = "macs") -> str:
    """Return the page; it needs no other file and no network.

    Args:
        history: of a search; the generations may be few or none.
        what: the cost that is plotted: macs, params or size_bytes.
    """
    best = max(
        (scored for generation in history.generations for scored in generation.population),
        key=lambda scored: (scored.trial.metric >= history.head.threshold, scored.score),
        default=None,
    )
    return load_template("search_page.html.j2").render(
        history=history,
        amount=COST_WORDS[what],
        best=best,
        left=None if best is None else _share(history, best, what),
        trials=history.generations[-1].trials if history.generations else len(history.trials),
        sections=_sections(history, what),
    )


def write_search(path: str | Path, history: History) -> None:
    """Write a history: as a page if the name ends in .html, else as JSON lines.

    Raises:
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() in (".html", ".htm"):
        page = render_search(history)
        write_text(path, page)
    else:
        write_history(path, history)


def _share(history: History, scored: ScoredPoint, what: str) -> float:
    return float(getattr(scored.trial.cost, what)) / max(1.0, float(history.head.base[what]))


def _sections(history: History, what: str) -> list[Section]:
    sections: list[Section] = []
    if history.generations:
        sections += [
            Section("Score by generation", (_draw_scores(history),)),
            Section("Cost by generation", (_draw_costs(history, what),)),
            Section("Metric against cost", (_draw_candidates(history, what),)),
            Section(
                "Population",
                _draw_populations(history),
                "One row per individual, the best on top; one column per hyper-parameter, in the "
                "order below. No colour changes nothing, full blue compresses most.",
                names_columns=True,
            ),
        ]
    if history.iterations:
        sections += _iteration_sections(history)
    return sections


def _draw_scores(history: History) -> str:
    generations = history.generations
    scores = [[scored.score for scored in g.population] for g in generations]
    best = [max(values) for values in scores]
    so_far = [max(best[: place + 1]) for place in range(len(best))]
    series = [
        ("mean of the population", list(map(_mean, scores)), "before", 1.5),
        ("best of the generation", best, "macs", 1.5),
        ("best so far", so_far, "width", 2.5),
    ]
    numbers = [float(g.number) for g in generations]
    return draw_curves("generation", "score", numbers, series, from_zero=True)


def _draw_costs(history: History, what: str) -> str:
    generations = history.generations
    shares = [[100 * _share(history, s, what) for s in g.population] for g in generations]
    leaders = [
        100 * _share(history, max(g.population, key=lambda scored: scored.score), what)
        for g in generations
    ]
    series = [
        ("mean of the population", list(map(_mean, shares)), "before", 1.5),
        ("best of the generation", leaders, "time", 2.5),
    ]
    numbers = [float(g.number) for g in generations]
    upward = f"{COST_WORDS[what]} left [%]"
    return draw_curves("generation", upward, numbers, series, from_zero=True)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _draw_candidates(history: History, what: str) -> str:
    """Draw every individual: metric against cost, the later the darker."""
    from matplotlib.colors import to_rgba

    last = max(1, history.generations[-1].number)
    entries = [
        (100 * _share(history, scored, what), scored.trial.metric, g.number, scored.score)
        for g in history.generations
        for scored in g.population
    ]
    picture = Picture("metric against cost", f"{COST_WORDS[what]} left [%]", "metric", height=230)
    axes = picture.axes
    dots = axes.scatter(
        [entry[0] for entry in entries],
        [entry[1] for entry in entries],
        s=14,
        color=[to_rgba(COLOUR["width"], 0.2 + 0.79 * e[2] / last) for e in entries],
        linewidths=0,
    )
    axes.scatter([], [], s=14, color=COLOUR["width"], label="candidates, the later the darker")
    picture.hint(
        dots,
        [
            f"generation {number}: {share:.1f} % left, metric {metric:.{_DIGITS}g}, "
            f"score {score:.{_DIGITS}g}"
            for share, metric, number, score in entries
        ],
    )
    front = history.front(what)
    shares, metrics = [100 * share for share, _ in front], [metric for _, metric in front]
    axes.plot(shares, metrics, color=COLOUR["good"], label="Pareto front", linewidth=1.2)
    threshold = history.head.threshold
    low, high = axes.get_ylim()
    if low <= threshold <= high:
        axes.axhline(threshold, color=COLOUR["bad"], linewidth=1.0, label="threshold")
    axes.set_xlim(0, max(100.0, *(entry[0] for entry in entries)) * 1.02)
    picture.legend()
    return picture.svg()


def _draw_populations(history: History) -> tuple[str, ...]:
    """Draw the first generation, the last one and one between them."""
    last = len(history.generations) - 1
    places = sorted({round(last * part / (_SHOWN - 1)) for part in range(_SHOWN)})
    return tuple(_draw_population(history, history.generations[place]) for place in places)


def _draw_population(history: History, generation: Generation) -> str:
    ranked = sorted(generation.population, key=lambda scored: -scored.score)
    rows = [
        [
            (value - whole) / (least - whole) if least != whole else 0.0
            for value, (whole, least) in zip(scored.point, history.head.ends, strict=True)
        ]
        for scored in ranked
    ]
    title = f"generation {generation.number}"
    return draw_field(title, f"hyper-parameter, {title}", "individual", rows, height=150)


def _iteration_sections(history: History) -> list[Section]:
    """Return what games against a baseline came to."""
    iterations = history.iterations
    numbers = [float(event.number) for event in iterations]
    scores = [
        ("best of the segment", [event.best for event in iterations], "width", 2.5),
        ("baseline", [event.baseline for event in iterations], "time", 1.5),
    ]
    errors = [("value error", [event.value_error for event in iterations], "macs", 2.0)]
    # More rows than can be told apart are thinned out.
    step = -(-len(iterations) // _MOST_ROWS)
    rows = [event.point for event in iterations[::step]]
    return [
        Section("Score by iteration", (draw_curves("iteration", "score", numbers, scores),)),
        Section(
            "Error of the expected worth",
            (draw_curves("iteration", "mean squared error", numbers, errors, from_zero=True),),
        ),
        Section(
            "Pruned share per layer",
            (draw_field("pruned share per layer", "group of channels", "iteration", rows),),
            f"One row per {'iteration' if step == 1 else f'{step} iterations'}, the first on top; "
            "one column per group of channels, in the order below. No colour keeps all, full blue "
            "keeps least.",
            names_columns=True,
        ),
    ]
