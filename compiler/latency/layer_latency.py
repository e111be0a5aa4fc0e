"""Latency per layer, from ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime as ort
from onnx import ModelProto, NodeProto

from compressc.factors.sites import PARTS
from compressc.runtime.inputs import Shapes, make_inputs

# Operations that a layer's time is looked for in; fused forms begin or end alike.
_CONTRACTIONS = ("Conv", "Gemm", "MatMul", "ConvTranspose", "Einsum")
_SUFFIXES = ("_kernel_time", "_nchwc")
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
    """
    with tempfile.TemporaryDirectory(prefix="compressc-") as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feeds = make_inputs(session, batch, 0, shapes)
        started, runs = time.perf_counter(), 0
        while runs < _WARM_UP_RUNS + _LEAST_RUNS or (
            runs < _MOST_RUNS and time.perf_counter() - started < seconds
        ):
            session.run(None, feeds)
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text())
    owner = _Owners(model, layers)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    finished = 0
    for event in events:
        if event.get("name") == "model_run":
            finished += 1
        elif finished >= _WARM_UP_RUNS and event.get("cat") == "Node":
            layer = owner.layer_of(event["name"], event.get("args", {}).get("op_name", ""))
            if layer is not None:
                times[layer, event["name"]].append(event["dur"] * 1e-3)
    spent: dict[str, float] = defaultdict(float)
    for (layer, _), durations in times.items():
        spent[layer] += median(durations)
    return dict(spent)


class _Owners:
    """Finds the layer behind a node of the optimised graph, which keeps some original names."""

    def __init__(self, model: ModelProto, layers: Collection[str]) -> None:
        self._nodes: Mapping[str, NodeProto] = {node.name: node for node in model.graph.node}
        self._makers: Mapping[str, NodeProto] = {
            output: node for node in model.graph.node for output in node.output
        }
        self._layers = frozenset(layers)
        self._known: dict[tuple[str, str], str | None] = {}

    def layer_of(self, event: str, operation: str) -> str | None:
        """Return the layer that an event belongs to, or None."""
        key = (event, operation)
        if key not in self._known:
            self._known[key] = self._find(event, operation)
        return self._known[key]

    def _find(self, event: str, operation: str) -> str | None:
        if not any(operation.endswith(name) for name in _CONTRACTIONS):
            return None
        for suffix in _SUFFIXES:
            event = event.removesuffix(suffix)
        # Nodes that were fused with their quantisation are numbered.
        event = re.sub(r"_token_\d+$", "", event)
        # A fused node is called after the node it began as, or after the tensor it ends in.
        node: Any = self._nodes.get(event) or self._makers.get(event)
        for _ in range(_STEPS):
            if node is None:
                return None
            for name in (*(value.rpartition(".")[0] for value in node.input), _scope(node)):
                # The parts of a factorised layer count with it.
                owner, _, part = name.rpartition(".")
                for layer in (name, owner) if part in PARTS else (name,):
                    if layer in self._layers:
                        return str(layer)
            node = next((self._makers[name] for name in node.input if name in self._makers), None)
        return None


def _scope(node: NodeProto) -> str:
    return str(node.name).rpartition("/")[0]
