"""Profile an ONNX file: the order of work, from a path to the time of each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from compressc.runtime.engine.library import has_sparse_nodes
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import Shapes, actual_batch, make_inputs
from compressc.runtime.machine import describe_machine
from compressc.runtime.named_model import name_nodes
from compressc.runtime.onnx_macs import INT8_OPS
from compressc.runtime.optimized_graph import Kernel, read_kernels
from compressc.runtime.origins import Origin, trace_origins
from compressc.runtime.pinning import pinned
from compressc.runtime.profile_result import LayerTime, Profile
from compressc.runtime.profiled_session import ProfiledSession, Recording, undisturbed
from compressc.runtime.quietness import cpu_share, judge, take_snapshot
from compressc.runtime.roofline import Roofline, measure_roofline
from compressc.runtime.session import create_session, run_session
from compressc.runtime.timing import burst_calls, plan_rounds, time_rounds, warm_up

Progress = Callable[[int, int, str], None]

BLOCKED_DOMAIN = "com.microsoft.nchwc."
_LEAST_ROUNDS, _MOST_ROUNDS = 8, 1000
# About 700 bytes of JSON each.
_MOST_EVENTS = 100_000
_WARM_UP_SECONDS = 1.0
# The layers of a call must add up to it; beyond this the parts are worth a remark.
_MOST_GAP = 0.1
_SPARSE_NODES = (
    "these are the layers of the sparse nodes' definition on ONNX Runtime's dense kernels, and "
    "their times; compressc bench measures the file as the sparse engine runs it"
)


def profile(
    path: str | Path,
    threads: int = 1,
    batch: int = 1,
    *,
    seconds: float = 5.0,
    shapes: Shapes | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Profile:
    """Time every layer of a model with ONNX Runtime's own profiler.

    Two sessions take turns, one with the profiler and one without: layers come from the first,
    the latency they have to add up to from the second.

    Args:
        path: the ONNX file.
        threads: threads of each operator.
        batch: size of symbolic first axes.
        seconds: for how long both are run.
        shapes: sizes of other symbolic axes, see :func:`compressc.runtime.inputs.resolve_shapes`.
        seed: of the inputs.
        progress: called with percent done, 100, and what is going on.

    Raises:
        RuntimeFailure: if the file cannot be opened, run or counted, or a number is out of range.
    """
    if not 0 < seconds < float("inf"):
        raise RuntimeFailure(f"seconds {seconds:g}: must be a number of seconds above 0")
    if threads < 1:
        raise RuntimeFailure(f"threads {threads}: must be 1 or more")
    report = progress or _report_nothing
    taken_at = datetime.now(UTC).isoformat(timespec="seconds")
    name = str(path)
    report(0, 100, f"reading {Path(path).name}")
    model = name_nodes(path, batch, shapes)
    with pinned(threads):
        report(5, 100, "measuring the machine's ceilings")
        roofline = measure_roofline(threads)
        report(20, 100, f"warming up {Path(path).name}")
        plain = create_session(model.source, name, threads, folder=model.folder)
        feeds = make_inputs(plain, batch, seed, shapes)
        run_session(plain, feeds, name)
        with ProfiledSession(model.source, name, threads, folder=model.folder) as session:
            runs = (partial(plain.run, None, feeds), partial(session.run, feeds))
            warm = [warm_up(run, _WARM_UP_SECONDS) for run in runs]
            call_ms = [warmth.call_ms for warmth in warm]
            per_round = burst_calls(call_ms[1]) * max(1, len(model.graph.node))
            rounds = plan_rounds(
                call_ms, seconds, _LEAST_ROUNDS, max(_LEAST_ROUNDS, _MOST_EVENTS // per_round)
            )
            before = take_snapshot()
            series = time_rounds(
                runs,
                call_ms,
                min(rounds, _MOST_ROUNDS),
                on_round=lambda done: report(
                    25 + 70 * done // rounds, 100, f"round {done} of {rounds}"
                ),
            )
            quietness = judge(before, take_snapshot(), cpu_share(series) if threads == 1 else None)
            report(95, 100, "reading the profile")
            recording = session.finish(skip=warm[1].calls)
    kernels = read_kernels(recording, feeds)
    origins, lost = trace_origins(model.graph, model.cost.layers, kernels)
    layers = _layers(kernels, recording, origins, roofline)
    measured = roofline
    roofline = roofline.reaching(
        [
            (layer.macs, layer.moved_bytes, layer.latency_ms)
            for layer, kernel in zip(layers, kernels, strict=True)
            if kernel.op not in INT8_OPS and layer.latency_ms > 2 * roofline.node_ms
        ]
    )
    if roofline != measured:
        layers = _layers(kernels, recording, origins, roofline)
    uncounted = list(model.cost.uncounted)
    if lost:
        uncounted.append(f"{lost} MACs belong to nodes that no executed kernel could be found for")
    latency, cpu = float(np.median(series[0].latency_ms)), undisturbed(series[0].cpu_ms)
    kernels_ms = sum(layer.latency_ms for layer in layers)
    overhead = (cpu if threads == 1 else latency) - kernels_ms
    return Profile(
        path=name,
        threads=threads,
        batch=actual_batch({key: array.shape for key, array in feeds.items()}),
        input_shapes={key: array.shape for key, array in feeds.items()},
        latency_p50_ms=latency,
        cpu_ms=cpu,
        kernels_ms=kernels_ms,
        overhead_ms=overhead,
        profiler_ms=float(np.median(series[1].cpu_ms - series[0].cpu_ms)),
        runs=max((node.run_ms.size for node in recording.nodes.values()), default=0),
        layers=layers,
        uncounted=tuple(uncounted),
        roofline=roofline,
        quietness=quietness,
        machine=describe_machine(),
        taken_at=taken_at,
        notes=(
            *(_SPARSE_NODES,) * has_sparse_nodes(Path(path)),
            *_notes(quietness.note, overhead, kernels_ms, kernels),
            *(_RAISED,) * (roofline != measured),
        ),
    )


_RAISED = (
    "the ceilings are what this file reached, where that is more than the products and copies that "
    "the machine was measured with"
)


def fused_name(kernel: Kernel) -> str:
    """Return what a kernel does with what was fused into it: ``Conv+Add+Relu``."""
    name = kernel.op.rpartition(".")[2]
    if kernel.op in INT8_OPS:
        return f"{name} (int8)"
    if name in ("Conv", "FusedConv") and len(kernel.operands) > 3 and kernel.operands[3]:
        name += "+Add"
    activation = kernel.attribute("activation", "")
    return f"{name}+{activation}" if activation else name


def _layers(
    kernels: tuple[Kernel, ...],
    recording: Recording,
    origins: Mapping[str, Origin],
    roofline: Roofline,
) -> tuple[LayerTime, ...]:
    took = {}
    for kernel in kernels:
        net_ms = recording.nodes[kernel.name].typical_ms - roofline.clock_ms
        took[kernel.name] = max(net_ms, roofline.node_ms)
    total = sum(took.values()) or 1.0
    layers = []
    for kernel in kernels:
        ms, origin, moved = took[kernel.name], origins[kernel.name], kernel.moved_bytes
        layers.append(
            LayerTime(
                layer=origin.layer,
                kernel=kernel.name,
                op=fused_name(kernel),
                blocked=kernel.op.startswith(BLOCKED_DOMAIN),
                latency_ms=ms,
                share=ms / total,
                macs=origin.macs,
                moved_bytes=moved,
                output_shape=kernel.results[0][1] if kernel.results else (),
                gflops=2e-6 * origin.macs / ms if origin.macs and ms > 0 else None,
                bound=roofline.bound_of(origin.macs, moved),
                attainable_ms=max(roofline.compute_ms(origin.macs), roofline.memory_ms(moved)),
            )
        )
    return tuple(layers)


def _notes(
    busy: str, overhead: float, kernels_ms: float, kernels: tuple[Kernel, ...]
) -> tuple[str, ...]:
    notes = [busy] if busy else []
    int8 = {kernel.op.rpartition(".")[2]: None for kernel in kernels if kernel.op in INT8_OPS}
    if int8:
        notes.append(
            f"{', '.join(int8)} multiply int8, and the measured peak is that of float32, which "
            "int8 arithmetic exceeds: their share of the ceiling may be above 100 %, and they "
            "may be bound by memory where the table says compute"
        )
    if abs(overhead) > _MOST_GAP * kernels_ms:
        gap = f"{overhead:.3g} ms more than that" if overhead > 0 else f"{-overhead:.3g} ms less"
        notes.append(
            f"the layers add up to {kernels_ms:.3g} ms, and a run takes {gap}: read shares rather "
            "than times of single layers"
        )
    return tuple(notes)


def _report_nothing(done: int, total: int, text: str) -> None:
    del done, total, text
