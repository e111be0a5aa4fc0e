"""A model whose every node has a name of its own, so that a profile can be told apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner

from compressc.runtime.inputs import Shapes
from compressc.runtime.onnx_cost import OnnxCost, count_cost, load_model
from compressc.runtime.onnx_shapes import stripped_copy


@dataclass(frozen=True, eq=False)
class NamedModel:
    """A model ready to be profiled.

    Attributes:
        source: the path, or the serialised model where names had to be given.
        folder: where the external weights of a serialised model lie.
        graph: functions inlined, without the data of large weights.
        cost: counted on that graph's nodes.
    """

    source: str | bytes
    folder: Path | None
    graph: onnx.GraphProto
    cost: OnnxCost


def name_nodes(path: str | Path, batch: int = 1, shapes: Shapes | None = None) -> NamedModel:
    """Read a model; where nodes lack names, share one, or hide in functions, rewrite it in memory.

    Raises:
        RuntimeFailure: if the file cannot be read or counted.
    """
    model = load_model(path)
    counts = Counter(node.name for node in model.graph.node)
    if not model.functions and "" not in counts and max(counts.values(), default=1) == 1:
        return NamedModel(
            str(path), None, stripped_copy(model).graph, count_cost(path, batch, shapes)
        )
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    taken = {node.name for node in model.graph.node if counts[node.name] == 1}
    for node in model.graph.node:
        if node.name and counts[node.name] == 1:
            continue
        stem = node.name or next(filter(None, node.output), node.op_type)
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}#{number}"
        node.name = name
        taken.add(name)
    return NamedModel(
        model.SerializeToString(),
        Path(path).resolve().parent,
        stripped_copy(model).graph,
        count_cost(model, batch, shapes),
    )
