"""The kernels of one network, as one machine executes them: what a prediction adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressc.runtime.inputs import Shapes, make_inputs
from compressc.runtime.kernel_kinds import KernelKind, Widths, classify
from compressc.runtime.named_model import NamedModel, name_nodes
from compressc.runtime.optimized_graph import read_kernels
from compressc.runtime.origins import trace_origins
from compressc.runtime.profiled_session import ProfiledSession
from compressc.runtime.session import create_session
from compressc.runtime.timing import plan_rounds, time_rounds, warm_up

_RUNS = 6
_SKIPPED = 2
_WARM_UP_SECONDS, _SECONDS = 0.5, 1.0
_LEAST_ROUNDS, _MOST_ROUNDS = 10, 200


@dataclass(frozen=True)
class ListedKernel:
    """One kernel of a network.

    Attributes:
        layer: the node of the file whose work it does.
        weight: the weight it multiplies by, by its name in the file; empty without one.
        kind: None where it cannot be run on its own.
        widths: of the kind's variables.
        inputs, outputs: names of values.
        macs: multiply-accumulates of one run.
        own_ms: what it took inside the network; all that is known without a kind.
    """

    layer: str
    weight: str
    kind: KernelKind | None
    widths: Widths
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    own_ms: float


@dataclass(frozen=True, eq=False)
class KernelList:
    """The kernels of a network in order of execution.

    Attributes:
        kernels: what is executed.
        latency_ms: what a call took when the list was made, by p50, p90 and p99.
    """

    kernels: tuple[ListedKernel, ...]
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def most(self) -> dict[KernelKind, Widths]:
        """The largest widths of every kind."""
        largest: dict[KernelKind, Widths] = {}
        for kernel in self.kernels:
            if kernel.kind is not None:
                known = largest.get(kernel.kind, kernel.widths)
                largest[kernel.kind] = tuple(map(max, known, kernel.widths))
        return largest

    @property
    def exact(self) -> list[tuple[KernelKind, Widths]]:
        """Every kind at the widths that occur."""
        pairs = [(k.kind, k.widths) for k in self.kernels if k.kind is not None]
        return list(dict.fromkeys(pairs))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [
            [k.layer, k.weight, k.kind and k.kind.key, k.widths, k.inputs, k.outputs, k.macs]
            + [round(k.own_ms, 7)]
            for k in self.kernels
        ]
        return {"kernels": rows, "latency_ms": dict(self.latency_ms)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KernelList:
        """Read what :meth:`to_dict` returned.

        Raises:
            KeyError, ValueError, TypeError: if the values are of another form.
        """
        kernels = []
        for layer, weight, key, widths, inputs, outputs, macs, own_ms in values["kernels"]:
            kind = None if key is None else KernelKind.from_key(key)
            kernels.append(
                ListedKernel(
                    layer, weight, kind, tuple(widths), tuple(inputs), tuple(outputs), macs, own_ms
                )
            )
        return cls(tuple(kernels), {k: float(ms) for k, ms in values["latency_ms"].items()})


def list_kernels(
    path: str | Path, threads: int = 1, batch: int = 1, shapes: Shapes | None = None
) -> KernelList:
    """Run a model for about a second and return what is executed, and how long a call takes.

    Raises:
        RuntimeFailure: if the file cannot be opened, run or counted.
    """
    model = name_nodes(path, batch, shapes)
    with ProfiledSession(model.source, str(path), threads, folder=model.folder) as session:
        feeds = make_inputs(session.session, batch, 0, shapes)
        for _ in range(_RUNS):
            session.run(feeds)
        recording = session.finish(skip=_SKIPPED)
    latency_ms = _time(model, str(path), threads, feeds)
    kernels = read_kernels(recording, feeds)
    origins, _ = trace_origins(model.graph, model.cost.layers, kernels)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in recording.opsets}
    listed = []
    for kernel in kernels:
        classified, origin = classify(kernel, opsets), origins[kernel.name]
        kind, widths = classified or (None, ())
        listed.append(
            ListedKernel(
                layer=origin.layer,
                weight=origin.weight,
                kind=kind,
                widths=widths,
                inputs=kernel.inputs,
                outputs=kernel.outputs,
                macs=origin.macs,
                own_ms=recording.nodes[kernel.name].typical_ms,
            )
        )
    return KernelList(tuple(listed), latency_ms)


def _time(
    model: NamedModel, name: str, threads: int, feeds: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    session = create_session(model.source, name, threads, folder=model.folder)
    run = partial(session.run, None, dict(feeds))
    call_ms = warm_up(run, _WARM_UP_SECONDS).call_ms
    rounds = plan_rounds([call_ms], _SECONDS, _LEAST_ROUNDS, _MOST_ROUNDS)
    times = time_rounds([run], [call_ms], rounds)[0].latency_ms
    percentiles = np.percentile(times, [50, 90, 99])
    return dict(zip(("p50", "p90", "p99"), map(float, percentiles), strict=True))
