"""Random numbers in a file: drawn alike while two files are compared."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

_DRAWING = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Bernoulli", "Multinomial"),
    }
)
_SEED = 1.0


def with_seeds(original: onnx.ModelProto) -> tuple[onnx.ModelProto, frozenset[str]]:
    """Return a copy whose random nodes draw the same in every session, and what they return.

    Without a seed ONNX Runtime draws by the place of the node, which differs between two files.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    seeded: set[str] = set()
    for node in _walk(model.graph):
        if node.op_type in _DRAWING and all(a.name != "seed" for a in node.attribute):
            node.attribute.append(helper.make_attribute("seed", _SEED))
            seeded.update(node.output)
    return model, frozenset(seeded)


def drop_seeds(model: onnx.ModelProto, seeded: frozenset[str]) -> None:
    """Take the seeds out of a file again, in place.

    Args:
        model: made from one of :func:`with_seeds`.
        seeded: what nodes return that had no seed.
    """
    for node in _walk(model.graph):
        if node.op_type in _DRAWING and seeded.intersection(node.output):
            kept = [a for a in node.attribute if a.name != "seed"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _walk(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk(attribute.g)
            for inner in attribute.graphs:
                yield from _walk(inner)
