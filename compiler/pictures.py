"""Pictures that passes make for the report: plain values, drawn where the page is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from compressc.factor_picture import FactorPicture


@dataclass(frozen=True)
class CurvePicture:
    """A metric against something that changed in training.

    Attributes:
        across: what changed, with unit.
        metric: what was judged, with unit.
        points: (value of what changed, metric) in the order of training.
    """

    across: str
    metric: str
    points: tuple[tuple[float, float], ...]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the picture whose fields a document holds.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
        """
        points = tuple((float(x), float(y)) for x, y in document["points"])
        return cls(str(document["across"]), str(document["metric"]), points)


@dataclass(frozen=True)
class ArchitecturePicture:
    """An architecture, or one cell of it, as a graph without cycles.

    Attributes:
        title: what is shown.
        nodes: a name and a label for each.
        edges: source, target and label of each, by the nodes' names; labels may be empty.
    """

    title: str
    nodes: tuple[tuple[str, str], ...]
    edges: tuple[tuple[str, str, str], ...]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the picture whose fields a document holds.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
        """
        nodes = tuple((str(name), str(label)) for name, label in document["nodes"])
        edges = tuple((str(a), str(b), str(label)) for a, b, label in document["edges"])
        return cls(str(document["title"]), nodes, edges)


Picture = FactorPicture | CurvePicture | ArchitecturePicture

_KINDS: dict[str, type[FactorPicture] | type[CurvePicture] | type[ArchitecturePicture]] = {
    kind.__name__: kind for kind in (FactorPicture, CurvePicture, ArchitecturePicture)
}


def describe_picture(picture: Picture) -> dict[str, Any]:
    """Return a picture as a document that JSON can hold."""
    return {"kind": type(picture).__name__, **asdict(picture)}


def read_picture(document: Mapping[str, Any]) -> Picture:
    """Return the picture that :func:`describe_picture` described.

    Raises:
        ValueError, KeyError, TypeError: if it is something else.
    """
    return _KINDS[document["kind"]].from_document(document)
