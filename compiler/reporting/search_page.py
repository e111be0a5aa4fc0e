"""The history of a search as one self-contained HTML page with plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressc.bounds import COST_WORDS
from compressc.reporting.iteration_plots import draw_iterations, shade_layers
from compressc.reporting.picture_axes import trace
from compressc.reporting.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    TICKS,
    TOP,
    WIDTH,
    Dot,
    Line,
    Plot,
    across_axis,
    draw_curves,
    shorten,
    vertical_axis,
)
from compressc.reporting.templates import load_template
from compressc.search.history import Generation, History, ScoredPoint
from compressc.search.history_file import write_history
from compressc.writing import write_text

# Generations whose whole population is shown.
_SHOWN = 3
_DIGITS = 4


@dataclass(frozen=True)
class Population:
    """One generation: per individual, best first, how much each hyper-parameter compresses."""

    title: str
    rows: tuple[tuple[float, ...], ...]


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
        plots=(*_plots(history, what), *draw_iterations(history.iterations)),
        populations=_populations(history),
        layers=shade_layers(history.iterations),
        width=WIDTH,
        height=HEIGHT,
        edge=LEFT,
        floor=HEIGHT - BOTTOM,
        top=TOP,
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


def _plots(history: History, what: str) -> tuple[Plot, ...]:
    generations = history.generations
    if not generations:
        return ()
    numbers = [float(generation.number) for generation in generations]
    scores = [[scored.score for scored in generation.population] for generation in generations]
    best = [max(values) for values in scores]
    so_far = [max(best[: index + 1]) for index in range(len(best))]
    shares = [[_share(history, scored, what) for scored in g.population] for g in generations]
    leaders = [
        _share(history, max(g.population, key=lambda scored: scored.score), what)
        for g in generations
    ]
    return (
        draw_curves(
            "score",
            "generation",
            numbers,
            [
                ("mean of the population", [_mean(values) for values in scores], "#94a3b8", 1.5),
                ("best of the generation", best, "#0d9488", 1.5),
                ("best so far", so_far, "#2563eb", 2.5),
            ],
            from_zero=True,
        ),
        draw_curves(
            "share of the cost left",
            "generation",
            numbers,
            [
                ("mean of the population", [_mean(values) for values in shares], "#94a3b8", 1.5),
                ("best of the generation", leaders, "#c2410c", 2.5),
            ],
            from_zero=True,
        ),
        _scatter(history, what),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _scatter(history: History, what: str) -> Plot:
    last = max(1, history.generations[-1].number)
    threshold = history.head.threshold
    entries = [
        (_share(history, scored, what), scored.trial.metric, generation.number, scored)
        for generation in history.generations
        for scored in generation.population
    ]
    metrics = [*(metric for _, metric, _, _ in entries), history.head.base_metric]
    x = across_axis(0.0, max(1.0, *(share for share, _, _, _ in entries)))
    y = vertical_axis(min(metrics), max(metrics))
    dots = tuple(
        Dot(
            x(share),
            y(metric),
            number / last,
            f"generation {number}: {share:.1%} left, metric {metric:.{_DIGITS}g}, "
            f"score {scored.score:.{_DIGITS}g}",
        )
        for share, metric, number, scored in entries
    )
    front = Line("Pareto front", trace(x, y, history.front(what)), "#15803d", 1.5)
    limit = [(x.low, threshold), (x.high, threshold)]
    lines = [front]
    if y.low <= threshold <= y.high:
        lines.append(Line("threshold", trace(x, y, limit), "#b91c1c", 1.0))
    return Plot(
        "metric",
        "share of the cost left",
        x.ticks(TICKS, shorten),
        y.ticks(TICKS, shorten),
        tuple(lines),
        dots,
    )


def _populations(history: History) -> tuple[Population, ...]:
    """Return the first generation, the last one and one between them."""
    last = len(history.generations) - 1
    places = sorted(
        {round(last * part / (_SHOWN - 1)) for part in range(_SHOWN)} & {*range(last + 1)}
    )
    return tuple(_population(history, history.generations[place]) for place in places)


def _population(history: History, generation: Generation) -> Population:
    ranked = sorted(generation.population, key=lambda scored: -scored.score)
    rows = tuple(
        tuple(
            (value - whole) / (least - whole) if least != whole else 0.0
            for value, (whole, least) in zip(scored.point, history.head.ends, strict=True)
        )
        for scored in ranked
    )
    return Population(f"generation {generation.number}", rows)
