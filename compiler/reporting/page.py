"""The report as one self-contained HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from compressc.factor_picture import FactorPicture
from compressc.pictures import ArchitecturePicture, CurvePicture
from compressc.reporting.architecture_plots import draw_architecture
from compressc.reporting.curves import draw_curves
from compressc.reporting.factor_plots import LEVELS, draw_factors
from compressc.reporting.layer_bars import draw_layers
from compressc.reporting.quantities import (
    readable_bytes,
    readable_count,
    readable_ms,
    readable_ratio,
)
from compressc.reporting.report import Report
from compressc.reporting.summary import judge_speed, summarize, timings
from compressc.reporting.templates import load_template

# Pin reasons with more places than this are folded.
_FOLD = 6


@dataclass(frozen=True)
class Card:
    """One headline number."""

    name: str
    value: str
    detail: str
    share: float | None
    good: bool = True


@dataclass(frozen=True)
class Curve:
    """A picture with its heading."""

    title: str
    drawn: str


@dataclass(frozen=True)
class PinGroup:
    """Places pinned for the same reason."""

    reason: str
    names: tuple[str, ...]
    folded: bool


def render_page(report: Report) -> str:
    """Return the page; it needs no other file and no network."""
    layers = report.layers
    return load_template("page.html.j2").render(
        report=report,
        cards=_cards(report),
        rows=summarize(report),
        speed=judge_speed(report),
        timed=any(row.latency_ms_after is not None for row in layers),
        charts=draw_layers(layers),
        widest=max((max(row.widths_before) for row in layers), default=1) or 1,
        heaviest=max((row.macs_before for row in layers), default=1) or 1,
        pins=_pin_groups(report),
        factors=[draw_factors(p) for p in report.pictures if isinstance(p, FactorPicture)],
        architectures=[
            draw_architecture(p) for p in report.pictures if isinstance(p, ArchitecturePicture)
        ],
        curves=[_curve(p) for p in report.pictures if isinstance(p, CurvePicture)],
        levels=LEVELS,
        count=readable_count,
        ratio=readable_ratio,
        size=readable_bytes,
    )


def _curve(picture: CurvePicture) -> Curve:
    points = sorted(picture.points) or [(0.0, 0.0)]
    series = (picture.metric, [metric for _, metric in points], "width", 2.0)
    places = [place for place, _ in points]
    drawn = draw_curves(picture.across, picture.metric, places, [series])
    return Curve(f"{picture.metric} against {picture.across}", drawn)


def _cards(report: Report) -> list[Card]:
    before, after = report.before, report.after
    cards = [
        _card("MACs", before.macs, after.macs, readable_count),
        _card("Parameters", before.params, after.params, readable_count),
    ]
    if before.file_bytes and after.file_bytes:
        cards.append(_card("ONNX file", before.file_bytes, after.file_bytes, readable_bytes))
    timed, speed = timings(report), judge_speed(report)
    if timed is not None and speed is not None:
        old, new = timed[0].latency_p50_ms, timed[1].latency_p50_ms
        cards.append(
            Card(
                speed.title,
                f"{speed.factor:.2f}x",
                f"p50 {readable_ms(old)} to {readable_ms(new)}",
                1 / speed.factor if speed.factor else None,
                good=speed.is_faster,
            )
        )
    if report.metric is not None:
        metric = report.metric
        cards.append(
            Card(
                metric.name,
                f"{metric.after:.2f}",
                f"{metric.after - metric.before:+.2f} from {metric.before:.2f}",
                None,
                good=metric.after >= metric.before,
            )
        )
    return cards


def _card(name: str, before: float, after: float, text: Callable[[float], str]) -> Card:
    share = after / before if before else None
    return Card(name, readable_ratio(after, before), f"{text(before)} to {text(after)}", share)


def _pin_groups(report: Report) -> list[PinGroup]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for pin in report.pins:
        by_reason[pin.reason].append(pin.node)
    return [
        PinGroup(reason, tuple(names), len(names) > _FOLD)
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
