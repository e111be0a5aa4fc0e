"""A profile as one self-contained HTML page: where the time goes, and the roofline.

Written without a template engine, since it is made on devices that have none; pictures need
matplotlib.
"""

from __future__ import annotations

from html import escape

from compressc.reporting.drawing import COLOUR, Picture, logarithmic, whole_ticks
from compressc.reporting.page_colours import PAGE_COLOURS, PLOTS
from compressc.reporting.profile_table import summary_lines
from compressc.reporting.quantities import readable_bytes, readable_count, readable_ms
from compressc.runtime.profile_result import LayerTime, Profile

# What bounds a layer, and its colour.
_ROLES = {"compute": "width", "memory": "time"}
# Of circles, in square points.
_LEAST_AREA, _MOST_AREA = 12.0, 260.0
_STYLE = f"""
{PAGE_COLOURS}
body {{ margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
main {{ max-width: 1040px; margin: 0 auto; padding: 28px 24px 60px; }}
h1 {{ font-size: 25px; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 17px; margin: 0 0 8px; }}
section {{ background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px; }}
{PLOTS}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
th {{ text-align: left; color: var(--soft); }} td, th {{ padding: 3px 10px 3px 0;
  border-bottom: 1px solid var(--line); }} td:first-child {{ min-width: 14em; }}
td.n, th.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }}
.soft {{ color: var(--soft); }}
@media (max-width: 480px) {{ main {{ padding: 16px 10px 40px; }} }}
"""


def render_profile(profile: Profile) -> str:
    """Return the page; it needs no other file and no network."""
    name = escape(profile.path)
    lines = "<br>".join(escape(line) for line in summary_lines(profile))
    remarks = "".join(f"<li>{escape(n)}</li>" for n in (*profile.uncounted, *profile.notes))
    notes = f"<section><h2>What to know</h2><ul>{remarks}</ul></section>" if remarks else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"/><title>{name} - compressc '
        f"profile</title><style>{_STYLE}</style></head><body><main><h1>{name}</h1>"
        f'<div class="soft">{lines}</div>{notes}'
        "<section><h2>Time of each layer</h2>"
        f'<div class="plot">{_draw_times(profile)}</div></section>'
        f"<section><h2>Roofline</h2>"
        '<div class="soft">Each circle is a layer, its area the time it takes.</div>'
        f'<div class="plot">{_draw_roofline(profile)}</div></section>'
        f"<section><h2>Layers</h2>{_table(profile)}</section></main></body></html>\n"
    )


def _draw_times(profile: Profile) -> str:
    """Draw one column per layer."""
    picture = Picture("time of each layer", "layer, in order", "time [ms]", height=230)
    for kind, role in _ROLES.items():
        chosen = [(n, x) for n, x in enumerate(profile.layers, 1) if x.bound == kind]
        bars = picture.axes.bar(
            [number for number, _ in chosen],
            [layer.latency_ms for _, layer in chosen],
            0.86,
            color=COLOUR[role],
            label=f"bound by {kind}",
        )
        for bar, (_, layer) in zip(bars, chosen, strict=True):
            picture.hint(bar, [_title(layer)])
    picture.axes.set_xlim(0.4, max(len(profile.layers), 1) + 0.6)
    whole_ticks(picture)
    picture.legend()
    return picture.svg()


def _draw_roofline(profile: Profile) -> str:
    """Draw achieved GFLOP/s over FLOPs per byte, both logarithmic, under the ceilings."""
    roofline, layers = profile.roofline, [layer for layer in profile.layers if layer.gflops]
    peak = roofline.peak_gflops
    picture = Picture("roofline", "arithmetic intensity [FLOPs per byte]", "GFLOP/s", height=250)
    axes = picture.axes
    bottom = min([layer.gflops or 1.0 for layer in layers], default=1.0) / 2
    left = min([layer.intensity for layer in layers], default=1.0) / 2
    right = max([layer.intensity for layer in layers], default=1.0) * 2
    right = max(right, 4 * peak / roofline.bandwidths[0][1])
    logarithmic(picture)
    for number, (size, rate) in enumerate(roofline.bandwidths):
        begin = max(left, bottom / rate)
        (line,) = axes.plot(
            [begin, peak / rate, right],
            [begin * rate, peak, peak],
            color=COLOUR["soft"],
            linewidth=1.0,
            label="" if number else "what this machine can do at most",
        )
        said = f"{rate:.0f} GB/s in working sets of {readable_bytes(size)}; peak {peak:.0f} GFLOP/s"
        picture.hint(line, [said])
    most = max((layer.latency_ms for layer in layers), default=1.0) or 1.0
    for kind, role in _ROLES.items():
        chosen = [layer for layer in layers if layer.bound == kind]
        dots = axes.scatter(
            [layer.intensity for layer in chosen],
            [layer.gflops or bottom for layer in chosen],
            s=[max(_LEAST_AREA, _MOST_AREA * layer.latency_ms / most) for layer in chosen],
            color=COLOUR[role],
            alpha=0.5,
            linewidths=0,
            label=f"bound by {kind}" if chosen else "",
        )
        picture.hint(dots, list(map(_title, chosen)))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, 1.6 * peak)
    picture.legend()
    return picture.svg()


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
    return f'<div style="overflow-x: auto"><table style="min-width: 720px">{table}</table></div>'


def _cell(tag: str, text: str, numeric: bool) -> str:
    kind = ' class="n"' if numeric else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"


def _title(layer: LayerTime) -> str:
    rate = "" if layer.gflops is None else f", {layer.gflops:.0f} GFLOP/s"
    return (
        f"{layer.layer} ({layer.op}): {readable_ms(layer.latency_ms)}, {layer.share:.1%}{rate}, "
        f"{layer.efficiency:.0%} of its ceiling, bound by {layer.bound}"
    )
