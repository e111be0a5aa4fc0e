"""The history of a search as one self-contained HTML page with plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressc.reporting.picture_axes import Axis, Tick, trace
from compressc.reporting.templates import load_template
from compressc.search.history import Candidate, Generation, History, write_history
from compressc.writing import write_text

_WIDTH, _HEIGHT = 960.0, 220.0
_LEFT, _BOTTOM, _TOP = 62.0, 26.0, 8.0
_TICKS = 5
# Generations whose whole population is shown.
_SHOWN = 3
_DIGITS = 4


@dataclass(frozen=True)
class Line:
    """A curve: its points as SVG writes them, colour, width, and what it is."""

    name: str
    points: str
    colour: str
    width: float


@dataclass(frozen=True)
class Dot:
    """One candidate in a plot; ``age`` is 0 for the first generation and 1 for the last."""

    x: float
    y: float
    age: float
    title: str


@dataclass(frozen=True)
class Plot:
    """Axes with curves and dots."""

    label: str
    across: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True)
class Population:
    """One generation: per individual, best first, how much each hyper-parameter compresses."""

    title: str
    rows: tuple[tuple[float, ...], ...]


def render_search(history: History, amount: str = "macs") -> str:
    """Return the page; it needs no other file and no network.

    Args:
        history: of a search; the generations may be few or none.
        amount: the cost that is plotted: macs, params or size_bytes.
    """
    best = max(
        (candidate for generation in history.generations for candidate in generation.population),
        key=lambda candidate: (candidate.metric >= history.threshold, candidate.score),
        default=None,
    )
    return load_template("search_page.html.j2").render(
        history=history,
        amount={"macs": "MACs", "params": "parameters", "size_bytes": "bytes"}[amount],
        best=best,
        left=None if best is None else _share(history, best, amount),
        trials=history.generations[-1].trials if history.generations else 0,
        plots=_plots(history, amount) if history.generations else (),
        populations=_populations(history),
        width=_WIDTH,
        height=_HEIGHT,
        edge=_LEFT,
        floor=_HEIGHT - _BOTTOM,
        top=_TOP,
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


def _share(history: History, candidate: Candidate, amount: str) -> float:
    return float(getattr(candidate, amount)) / max(1.0, float(history.base[amount]))


def _plots(history: History, amount: str) -> tuple[Plot, ...]:
    generations = history.generations
    numbers = [float(generation.number) for generation in generations]
    scores = [
        [candidate.score for candidate in generation.population] for generation in generations
    ]
    best = [max(values) for values in scores]
    so_far = [max(best[: index + 1]) for index in range(len(best))]
    shares = [
        [_share(history, candidate, amount) for candidate in g.population] for g in generations
    ]
    leaders = [
        _share(history, max(g.population, key=lambda candidate: candidate.score), amount)
        for g in generations
    ]
    return (
        _curves(
            "score",
            numbers,
            [
                ("mean of the population", [_mean(values) for values in scores], "#94a3b8", 1.5),
                ("best of the generation", best, "#0d9488", 1.5),
                ("best so far", so_far, "#2563eb", 2.5),
            ],
        ),
        _curves(
            "share of the cost left",
            numbers,
            [
                ("mean of the population", [_mean(values) for values in shares], "#94a3b8", 1.5),
                ("best of the generation", leaders, "#c2410c", 2.5),
            ],
        ),
        _scatter(history, amount),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _curves(
    label: str,
    across: Sequence[float],
    series: Sequence[tuple[str, Sequence[float], str, float]],
) -> Plot:
    low = min(min(values) for _, values, _, _ in series)
    high = max(max(values) for _, values, _, _ in series)
    x, y = Axis(across[0], across[-1], _LEFT, _WIDTH - 12), _vertical(min(low, 0.0), high)
    lines = tuple(
        Line(name, trace(x, y, zip(across, values, strict=True)), colour, width)
        for name, values, colour, width in series
    )
    return Plot(
        label, "generation", x.ticks(_TICKS, _short, whole=True), y.ticks(_TICKS, _short), lines
    )


def _scatter(history: History, amount: str) -> Plot:
    last = max(1, history.generations[-1].number)
    points = [
        (_share(history, candidate, amount), candidate.metric, generation.number, candidate)
        for generation in history.generations
        for candidate in generation.population
    ]
    metrics = [*(entry[1] for entry in points), history.base_metric]
    x = Axis(0.0, max(1.0, max(entry[0] for entry in points)), _LEFT, _WIDTH - 12)
    y = _vertical(min(metrics), max(metrics))
    dots = tuple(
        Dot(
            x(share),
            y(metric),
            number / last,
            f"generation {number}: {share:.1%} left, metric {metric:.{_DIGITS}g}, "
            f"score {candidate.score:.{_DIGITS}g}",
        )
        for share, metric, number, candidate in points
    )
    front = Line("Pareto front", trace(x, y, history.front(amount)), "#15803d", 1.5)
    limit = [(x.low, history.threshold), (x.high, history.threshold)]
    lines = [front]
    if y.low <= history.threshold <= y.high:
        lines.append(Line("threshold", trace(x, y, limit), "#b91c1c", 1.0))
    return Plot(
        "metric",
        "share of the cost left",
        x.ticks(_TICKS, _short),
        y.ticks(_TICKS, _short),
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
    ranked = sorted(generation.population, key=lambda candidate: -candidate.score)
    rows = tuple(
        tuple(
            (value - whole) / (least - whole) if least != whole else 0.0
            for value, (whole, least) in zip(candidate.values, history.ends, strict=True)
        )
        for candidate in ranked
    )
    return Population(f"generation {generation.number}", rows)


def _vertical(low: float, high: float) -> Axis:
    room = 0.05 * (high - low) or 0.5
    return Axis(low - (room if low else 0.0), high + room, _HEIGHT - _BOTTOM, _TOP)


def _short(value: float) -> str:
    return f"{value:.3g}"
