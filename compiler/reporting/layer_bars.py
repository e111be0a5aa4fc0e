"""Bars for each layer, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compressc.reporting.drawing import COLOUR, Picture, whole_ticks
from compressc.reporting.quantities import readable_count, readable_ms
from compressc.reporting.report import LayerRow

_HEIGHT = 150.0
# From here on ticks are written with k, M and G.
_LARGE = 10_000


def draw_layers(layers: Sequence[LayerRow]) -> tuple[str, ...]:
    """Return output channels, MACs and, where layers were timed, latencies of all layers."""
    if not layers:
        return ()
    timed = any(row.latency_ms_after is not None for row in layers)
    pictures = [
        _bars(
            "output channels",
            layers,
            [(r.widths_before[1], r.widths_after[1]) for r in layers],
            "width",
            str,
        ),
        _bars(
            "MACs", layers, [(r.macs_before, r.macs_after) for r in layers], "macs", readable_count
        ),
    ]
    if timed:
        pairs = [(r.latency_ms_before or 0.0, r.latency_ms_after or 0.0) for r in layers]
        pictures.append(_bars("latency [ms]", layers, pairs, "time", readable_ms))
    return tuple(pictures)


def _bars(
    what: str,
    layers: Sequence[LayerRow],
    pairs: Sequence[tuple[float, float]],
    role: str,
    text: Callable[[float], str],
) -> str:
    from matplotlib.ticker import EngFormatter

    picture = Picture(
        f"{what} of each layer before and after", "layer, in order", what, height=_HEIGHT
    )
    places = range(1, len(layers) + 1)
    for place, label, colour in ((0, "before", "before"), (1, "after", role)):
        bars = picture.axes.bar(
            places, [pair[place] for pair in pairs], 0.86, color=COLOUR[colour], label=label
        )
        for bar, row, pair in zip(bars, layers, pairs, strict=True):
            picture.hint(bar, [f"{row.name}: {text(pair[0])} to {text(pair[1])}"])
    if max(map(max, pairs)) >= _LARGE:
        picture.axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    picture.axes.set_xlim(0.4, len(layers) + 0.6)
    whole_ticks(picture)
    picture.legend()
    return picture.svg()
