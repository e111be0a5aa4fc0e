"""Drawing: matplotlib's figures as plain SVG, in the colours of the page around them."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# matplotlib knows no CSS: each colour of the page has a stand-in here that nothing else uses, and
# becomes var(--name) in the SVG, so that a picture follows the page into the dark.
_ROLES = ("ink", "soft", "line", "before", "width", "macs", "time", "good", "bad", "paper")
COLOUR = {role: f"#0102{number:02x}" for number, role in enumerate(_ROLES, 1)}
# Of a picture, in points; a page scales it to its width.
_WIDTH = 690.0
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


class Picture:
    """Axes with a label on each side, and what is said where somebody points at a mark.

    Attributes:
        axes: matplotlib's, to draw on.
    """

    axes: Axes

    def __init__(self, title: str, across: str, upward: str, *, height: float = 190.0) -> None:
        """Make empty axes.

        Args:
            title: what is shown, for people who cannot see it.
            across: what the lower axis is, with its unit.
            upward: what the left axis is, with its unit.
            height: in points; the width is the same for all.
        """
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        self._title, self._hints = title, dict[str, Sequence[str]]()
        with rc_context(_style()):
            self._figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
            self.axes = self._figure.add_subplot()
            self.axes.set_xlabel(across)
            self.axes.set_ylabel(upward)

    def hint(self, artist: Artist, texts: Sequence[str]) -> None:
        """Say a text for each mark of an artist, in the order in which they are drawn."""
        name = f"hint{len(self._hints)}"
        artist.set_gid(name)
        self._hints[name] = texts

    def legend(self) -> None:
        """Explain what has a label, above the axes."""
        from matplotlib import rc_context

        with rc_context(_style()):
            self._figure.legend(loc="outside upper left", ncols=4, borderaxespad=0.2)

    def svg(self) -> str:
        """Return the picture as an ``<svg>`` element without a size of its own."""
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        stream = io.BytesIO()
        # Names within the file are made from the salt; two pictures of a page must not share them.
        with rc_context({**_style(), "svg.hashsalt": self._title}):
            canvas: Any = FigureCanvasSVG(self._figure)
            canvas.print_svg(stream, metadata=dict.fromkeys(_STATED))
        return self._finished(ElementTree.fromstring(stream.getvalue()))

    def _finished(self, root: ElementTree.Element) -> str:
        for parent in list(root.iter()):
            for child in list(parent):
                if child.tag == f"{_SVG}metadata":
                    parent.remove(child)
        for element in root.iter():
            # Inside a page, SVG needs no namespaces.
            element.tag = element.tag.removeprefix(_SVG)
            if _LINK in element.attrib:
                element.set("href", element.attrib.pop(_LINK))
        for group in root.iter("g"):
            texts = self._hints.get(group.attrib.pop("id", ""), ())
            for mark, text in zip(_marks(group), texts, strict=False):
                title = ElementTree.Element("title")
                title.text = text
                mark.insert(0, title)
        for size in ("width", "height"):
            root.attrib.pop(size, None)
        root.set("role", "img")
        root.set("aria-label", self._title)
        drawn = ElementTree.tostring(root, encoding="unicode")
        for role, stand_in in COLOUR.items():
            drawn = drawn.replace(stand_in, f"var(--{role})")
        return drawn


def whole_ticks(picture: Picture) -> None:
    """Write whole numbers only on the axis across."""
    from matplotlib.ticker import MaxNLocator

    picture.axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def logarithmic(picture: Picture) -> None:
    """Make both axes logarithmic, with plain numbers at their ticks."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes = picture.axes
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="major", axis="both")


def never_negative(picture: Picture) -> None:
    """Begin the upward axis at 0 at the lowest, for what cannot be negative."""
    bottom, _ = picture.axes.get_ylim()
    picture.axes.set_ylim(bottom=max(bottom, 0.0))


# What matplotlib would say of itself in each file.
_STATED = ("Creator", "Date", "Format", "Type")


def _marks(group: ElementTree.Element) -> list[ElementTree.Element]:
    """Return the shapes of a group that are drawn, definitions left out."""
    defined = {shape for defs in group.iter("defs") for shape in defs.iter()}
    return [x for x in group.iter() if x.tag in ("path", "use") and x not in defined]


def _style() -> Any:
    return {
        "svg.fonttype": "none",
        # A $ in the name of a layer is no formula.
        "text.parse_math": False,
        "font.size": 9.0,
        "text.color": COLOUR["soft"],
        "axes.facecolor": "none",
        "axes.edgecolor": COLOUR["soft"],
        "axes.labelcolor": COLOUR["soft"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.linewidth": 0.8,
        "axes.xmargin": 0.02,
        "figure.facecolor": "none",
        "grid.color": COLOUR["line"],
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.labelcolor": COLOUR["soft"],
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "xtick.color": COLOUR["soft"],
        "ytick.color": COLOUR["soft"],
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
    }
