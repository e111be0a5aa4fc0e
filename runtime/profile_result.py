"""Where the time of one ONNX file goes, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compressc.runtime.machine import Machine
from compressc.runtime.quietness import Quietness
from compressc.runtime.result_document import Format
from compressc.runtime.roofline import Roofline

_FORMAT = Format("compressc-profile-1", "a profile", "compressc profile --json")


@dataclass(frozen=True)
class LayerTime:
    """One executed kernel.

    Attributes:
        layer: the node of the file whose work it does.
        kernel: its name in the optimised graph.
        op: what it does, with what was fused into it: ``Conv+Add+Relu``.
        blocked: whether it runs in ONNX Runtime's blocked channel layout.
        latency_ms: time of an undisturbed run, without the profiler's clock.
        share: of all layers' time.
        macs: multiply-accumulates, counted on the file's own nodes.
        moved_bytes: inputs, weights and outputs, once each.
        output_shape: of the first output, as the runtime lays it out.
        gflops: achieved, two per MAC; None where it multiplies nothing.
        bound: ``compute`` or ``memory``: which ceiling is lower for it.
        attainable_ms: the time at that ceiling.
    """

    layer: str
    kernel: str
    op: str
    blocked: bool
    latency_ms: float
    share: float
    macs: int
    moved_bytes: int
    output_shape: tuple[int, ...]
    gflops: float | None
    bound: str
    attainable_ms: float

    @property
    def intensity(self) -> float:
        """FLOPs per byte moved."""
        return 2 * self.macs / self.moved_bytes if self.moved_bytes else 0.0

    @property
    def efficiency(self) -> float:
        """Attainable over measured time; above 1 where data came from a nearer cache."""
        return self.attainable_ms / self.latency_ms if self.latency_ms > 0 else 1.0


@dataclass(frozen=True)
class Profile:
    """A profile of one file on one machine.

    Attributes:
        path: the file.
        threads, batch: how it was run.
        input_shapes: shape of each input.
        latency_p50_ms: wall time of a call without the profiler.
        cpu_ms: CPU time of such a call, all threads, undisturbed as the layers' times are.
        kernels_ms: time of all layers together.
        overhead_ms: what a call takes beyond its layers: the runtime itself and the call. Taken
            from CPU time with one thread, so that other processes do not count; else from wall
            time. Slightly negative where layers run faster without the profiler between them.
        profiler_ms: how much longer a call takes under the profiler.
        runs: how often each layer was timed.
        layers: in order of execution.
        uncounted: what the MACs do not contain, and why.
        roofline: the machine's ceilings.
        quietness: what else the machine did meanwhile.
        machine: where it was taken.
        taken_at: UTC, ISO 8601.
        notes: sentences a reader of the numbers must know.
    """

    path: str
    threads: int
    batch: int
    input_shapes: Mapping[str, tuple[int, ...]]
    latency_p50_ms: float
    cpu_ms: float
    kernels_ms: float
    overhead_ms: float
    profiler_ms: float
    runs: int
    layers: tuple[LayerTime, ...]
    uncounted: tuple[str, ...]
    roofline: Roofline
    quietness: Quietness
    machine: Machine
    taken_at: str
    notes: tuple[str, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    def by_op(self) -> dict[str, float]:
        """Return the milliseconds of each kind of kernel, the costliest first."""
        spent: dict[str, float] = {}
        for layer in self.layers:
            spent[layer.op] = spent.get(layer.op, 0.0) + layer.latency_ms
        return dict(sorted(spent.items(), key=lambda entry: -entry[1]))

    def to_json(self) -> str:
        """Return the profile as a JSON document; :meth:`from_json` reads it back."""
        document = {"format": _FORMAT.name, **asdict(self)}
        document["machine"] = self.machine.to_dict()
        document["input_shapes"] = {k: list(v) for k, v in self.input_shapes.items()}
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read what :meth:`to_json` returned.

        Raises:
            RuntimeFailure: if the text is not such a document.
        """
        return _FORMAT.read(text, lambda document: cls(**{**document, **_parts(document)}))


def _parts(document: Mapping[str, Any]) -> dict[str, Any]:
    roofline = dict(document["roofline"])
    roofline["bandwidths"] = tuple((size, rate) for size, rate in roofline["bandwidths"])
    return {
        "machine": Machine.from_dict(document["machine"]),
        "quietness": Quietness(**document["quietness"]),
        "roofline": Roofline(**roofline),
        "input_shapes": {name: tuple(s) for name, s in document["input_shapes"].items()},
        "layers": tuple(
            LayerTime(**{**layer, "output_shape": tuple(layer["output_shape"])})
            for layer in document["layers"]
        ),
        "uncounted": tuple(document["uncounted"]),
        "notes": tuple(document["notes"]),
    }
