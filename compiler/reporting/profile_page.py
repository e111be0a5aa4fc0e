"""A profile as one self-contained HTML page: where the time goes, and the roofline.

Written without a template engine, since it is made on devices that have none.
"""

from __future__ import annotations

import math
from html import escape

from compressc.reporting.page_colours import PAGE_COLOURS
from compressc.reporting.profile_table import summary_lines
from compressc.reporting.quantities import readable_bytes, readable_count, readable_ms
from compressc.runtime.profile_result import LayerTime, Profile

_WIDTH, _HEIGHT = 960.0, 300.0
_MARGIN = 46.0
_COLORS = {"compute": "#2563eb", "memory": "#c2410c"}
_LEAST_RADIUS, _MOST_RADIUS = 3.0, 14.0
_STYLE = f"""
{PAGE_COLOURS}
body {{ margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
main {{ max-width: 1040px; margin: 0 auto; padding: 28px 24px 60px; }}
h1 {{ font-size: 25px; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 17px; margin: 0 0 8px; }}
section {{ background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px; }}
svg {{ display: block; width: 100%; height: auto; }} text {{ font-size: 12px; fill: var(--soft); }}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
th {{ text-align: left; color: var(--soft); }} td, th {{ padding: 3px 10px 3px 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }}
td.n, th.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }}
.soft {{ color: var(--soft); }}
i {{ display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  margin: 0 5px 0 14px; }}
"""


def render_profile(profile: Profile) -> str:
    """Return the page; it needs no other file and no network."""
    name = escape(profile.path)
    legend = "".join(
        f'<i style="background:{color}"></i>bound by {kind}' for kind, color in _COLORS.items()
    )
    lines = "<br>".join(escape(line) for line in summary_lines(profile))
    remarks = "".join(f"<li>{escape(n)}</li>" for n in (*profile.uncounted, *profile.notes))
    notes = f"<section><h2>What to know</h2><ul>{remarks}</ul></section>" if remarks else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"/><title>{name} - compressc '
        f"profile</title><style>{_STYLE}</style></head><body><main><h1>{name}</h1>"
        f'<div class="soft">{lines}</div>{notes}'
        f'<section><h2>Time of each layer, in order</h2><div class="soft">{legend}</div>'
        f"{_bars(profile)}</section>"
        f"<section><h2>Roofline</h2>"
        f'<div class="soft">Each circle is a layer, its area the time it takes. The lines are what '
        f"this machine can do at most.</div>{_roofline(profile)}</section>"
        f"<section><h2>Layers</h2>{_table(profile)}</section></main></body></html>\n"
    )


def _bars(profile: Profile) -> str:
    """Draw one column per layer, as wide as its share of the time is high."""
    count = max(1, len(profile.layers))
    most = max((layer.latency_ms for layer in profile.layers), default=0.0) or 1.0
    step = (_WIDTH - _MARGIN) / count
    parts = [
        f'<text x="0" y="12">{readable_ms(most)}</text>',
        f'<line x1="{_MARGIN}" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" '
        'stroke="var(--before)"/>',
    ]
    for place, layer in enumerate(profile.layers):
        height = (_HEIGHT - 16) * layer.latency_ms / most
        parts.append(
            f'<rect x="{_MARGIN + place * step:.2f}" y="{_HEIGHT - height:.2f}" '
            f'width="{max(0.5, step * 0.85):.2f}" height="{height:.2f}" '
            f'fill="{_COLORS[layer.bound]}"><title>{escape(_title(layer))}</title></rect>'
        )
    return _svg("time of each layer", "".join(parts))


def _roofline(profile: Profile) -> str:
    """Draw achieved GFLOP/s over FLOPs per byte, both logarithmic, under the ceilings."""
    roofline = profile.roofline
    layers = [layer for layer in profile.layers if layer.gflops]
    bottom = min([layer.gflops or 1.0 for layer in layers], default=1.0) / 2
    top = roofline.peak_gflops * 1.6
    left = min([layer.intensity for layer in layers], default=1.0) / 2
    right = max([layer.intensity for layer in layers], default=1.0) * 2
    right = max(right, 4 * roofline.peak_gflops / roofline.bandwidths[0][1])

    def x(intensity: float) -> float:
        return _MARGIN + (_WIDTH - _MARGIN) * _share(intensity, left, right)

    def y(gflops: float) -> float:
        return _HEIGHT * (1 - _share(gflops, bottom, top))

    parts = [
        f'<text x="0" y="{y(roofline.peak_gflops):.1f}">{roofline.peak_gflops:.0f}</text>',
        f'<text x="{_WIDTH - 90}" y="{_HEIGHT - 6}">FLOPs per byte</text>',
        '<text x="0" y="12">GFLOP/s</text>',
    ]
    for size, rate in roofline.bandwidths:
        ridge = roofline.peak_gflops / rate
        begin = max(left, bottom / rate)
        points = [(begin, begin * rate), (ridge, roofline.peak_gflops)]
        points.append((right, roofline.peak_gflops))
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        title = f"{rate:.0f} GB/s in working sets of {readable_bytes(size)}"
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="#94a3b8"><title>{title}</title>'
            "</polyline>"
        )
    most = max((layer.latency_ms for layer in layers), default=1.0) or 1.0
    for layer in sorted(layers, key=lambda timed: -timed.latency_ms):
        radius = max(_LEAST_RADIUS, _MOST_RADIUS * math.sqrt(layer.latency_ms / most))
        parts.append(
            f'<circle cx="{x(layer.intensity):.1f}" cy="{y(layer.gflops or bottom):.1f}" '
            f'r="{radius:.1f}" fill="{_COLORS[layer.bound]}" fill-opacity="0.45">'
            f"<title>{escape(_title(layer))}</title></circle>"
        )
    return _svg("roofline", "".join(parts))


def _table(profile: Profile) -> str:
    headings = ("layer", "runs as", "time", "share", "MACs", "GFLOP/s", "of ceiling", "bound by")
    numeric = {2, 3, 4, 5, 6}
    rows = ["".join(_cell("th", text, place in numeric) for place, text in enumerate(headings))]
    for layer in profile.layers:
        cells = (
            layer.layer,
            f"{layer.op}{' (blocked)' if layer.blocked else ''}",
            readable_ms(layer.latency_ms),
            f"{layer.share:.1%}",
            readable_count(layer.macs) if layer.macs else "-",
            "-" if layer.gflops is None else f"{layer.gflops:.0f}",
            f"{layer.efficiency:.0%}",
            layer.bound,
        )
        rows.append("".join(_cell("td", text, i in numeric) for i, text in enumerate(cells)))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div style="overflow-x: auto"><table style="min-width: 560px">{table}</table></div>'


def _cell(tag: str, text: str, numeric: bool) -> str:
    kind = ' class="n"' if numeric else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"


def _title(layer: LayerTime) -> str:
    rate = "" if layer.gflops is None else f", {layer.gflops:.0f} GFLOP/s"
    return (
        f"{layer.layer} ({layer.op}): {readable_ms(layer.latency_ms)}, {layer.share:.1%}{rate}, "
        f"{layer.efficiency:.0%} of its ceiling, bound by {layer.bound}"
    )


def _share(value: float, least: float, most: float) -> float:
    return (math.log(value) - math.log(least)) / (math.log(most) - math.log(least))


def _svg(label: str, content: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{content}</svg>'
