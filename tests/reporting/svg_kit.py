"""Reads the pictures of a page back: hints, texts, and how high bars are drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

Svg = ElementTree.Element


def svgs(page: str) -> list[Svg]:
    """Return the pictures of a page, in order."""
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)]


def texts(svg: Svg) -> list[str]:
    """Return everything that is written: labels of axes, ticks, the legend."""
    return ["".join(text.itertext()).strip() for text in svg.iter("text")]


def hints(svg: Svg) -> dict[str, Svg]:
    """Return the marks that say something when they are pointed at, by what they say."""
    return {
        title.text or "": mark
        for mark in svg.iter()
        for title in mark.findall("title")
        if mark.tag in ("path", "use")
    }


def places(path: Svg) -> list[tuple[float, float]]:
    """Return the corners of a path, in the picture's coordinates."""
    numbers = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in numbers]


def height(bar: Svg) -> float:
    """Return how high a bar is drawn."""
    ys = [y for _, y in places(bar)]
    return max(ys) - min(ys)


def lines(svg: Svg, role: str) -> list[list[tuple[float, float]]]:
    """Return the curves of a colour of the page, legend left out."""
    drawn = [x for x in svg.iter("path") if f"stroke: var(--{role})" in x.get("style", "")]
    return [places(x) for x in drawn if "clip-path" in x.attrib]
