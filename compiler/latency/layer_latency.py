"""Latency per layer, from ONNX Runtime's own profiler."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

from compressc.factors.sites import PARTS
from compressc.runtime.inputs import Shapes, make_inputs
from compressc.runtime.profiled_session import ProfiledSession

# Operations that a layer's time is looked for in; fused forms begin or end alike.
_CONTRACTIONS = ("Conv", "Gemm", "MatMul", "ConvTranspose", "Einsum")
_BLOCKED = "_nchwc"
# Steps from a fused node back to the node with the weights.
_STEPS = 8
_WARM_UP_RUNS = 3
_LEAST_RUNS, _MOST_RUNS = 10, 300


def time_layers(
    model: ModelProto,
    layers: Collection[str],
    *,
    threads: int = 1,
    batch: int = 1,
    shapes: Shapes | None = None,
    seconds: float = 1.0,
) -> dict[str, float]:
    """Return the median milliseconds that ONNX Runtime spends in each layer.

    Activations, additions and batch norms that it fuses into a layer count with it; nodes of no
    layer (pooling, reordering) are left out. The profiler itself costs a few microseconds per
    node, so the sum of tiny layers is more than the model's latency.

    Args:
        model: weights named after the layers' parameters, as the exporter names them.
        layers: names to look for; layers that are not found are left out.
        threads: threads of each operator.
        batch: size of the batch axis.
        shapes: sizes of other symbolic axes.
        seconds: how long to run.

    Raises:
        RuntimeFailure: if the model does not run.
    """
    with ProfiledSession(model.SerializeToString(), "the ONNX model", threads) as session:
        feeds = make_inputs(session.session, batch, 0, shapes)
        started, runs = time.perf_counter(), 0
        while runs < _WARM_UP_RUNS + _LEAST_RUNS or (
            runs < _MOST_RUNS and time.perf_counter() - started < seconds
        ):
            session.run(feeds)
            runs += 1
        recording = session.finish(skip=_WARM_UP_RUNS)
    owner = _Owners(model, layers)
    operations = {node.name: node.op_type for node in recording.graph.node}
    spent: dict[str, float] = defaultdict(float)
    for name, times in recording.nodes.items():
        layer = owner.layer_of(name, operations.get(name, ""))
        if layer is not None and times.run_ms.size:
            spent[layer] += float(np.median(times.run_ms))
    return dict(spent)


class _Owners:
    """Finds the layer behind a node of the optimised graph, which keeps some original names."""

    def __init__(self, model: ModelProto, layers: Collection[str]) -> None:
        self._nodes: Mapping[str, NodeProto] = {node.name: node for node in model.graph.node}
        self._makers: Mapping[str, NodeProto] = {
            output: node for node in model.graph.node for output in node.output
        }
        self._layers = frozenset(layers)

    def layer_of(self, name: str, operation: str) -> str | None:
        """Return the layer that an executed node belongs to, or None.

        Args:
            name: of the node in the optimised graph.
            operation: its operator.
        """
        if not any(operation.endswith(kind) for kind in _CONTRACTIONS):
            return None
        # Nodes that were fused with their quantisation are numbered.
        stem = re.sub(r"_token_\d+$", "", name.removesuffix(_BLOCKED))
        # A fused node is called after the node it began as, or after the tensor it ends in.
        node: Any = self._nodes.get(stem) or self._makers.get(stem)
        for _ in range(_STEPS):
            if node is None:
                return None
            for scope in (*(value.rpartition(".")[0] for value in node.input), _scope(node)):
                # The parts of a factorised layer count with it.
                owner, _, part = scope.rpartition(".")
                for layer in (scope, owner) if part in PARTS else (scope,):
                    if layer in self._layers:
                        return str(layer)
            node = next((self._makers[name] for name in node.input if name in self._makers), None)
        return None


def _scope(node: NodeProto) -> str:
    return str(node.name).rpartition("/")[0]
