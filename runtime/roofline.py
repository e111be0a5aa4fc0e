"""What the machine can do at most: products per second, and bytes per second by working set.

A layer can be no faster than its products at the peak of the arithmetic units, nor than its bytes
at the bandwidth of the memory that holds them; the slower of the two bounds it (the roofline).

Source:
    Williams, Waterman and Patterson, Roofline: an insightful visual performance model for
    multicore architectures, CACM 52(4), 2009.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compressc.runtime.profiled_session import ProfiledSession, undisturbed
from compressc.runtime.session import create_session
from compressc.runtime.timing import Run, warm_up

_NAME = "a model to measure the machine with"
_OPSET = 18
# Short enough to be done before a busy system interrupts, large enough to reach the peak.
_GEMM_SIDE = 384
_CONV_CHANNELS, _CONV_SIDE, _CONV_LAYERS = 64, 28, 2
_PEAK_RUNS = 100
# Working sets: inside the second cache, the third, and memory on most processors.
_COPY_BYTES = (128 * 2**10, 2**20, 8 * 2**20, 64 * 2**20)
_COPIES = 6
_COPY_RUNS = 8
_TINY_NODES = (10, 410)
_TINY_RUNS = 60
_ONE = (1, 1, 1, 1)
# The fastest runs are those that nothing disturbed.
_FAST_SHARE = 10


@dataclass(frozen=True)
class Roofline:
    """Ceilings of a machine at a number of threads, measured in ONNX Runtime.

    Attributes:
        threads: of each operator.
        peak_gflops: the more of a large matrix product and a chain of 3x3 convolutions.
        bandwidths: (working-set bytes, GB/s of reading and writing), smallest set first.
        clock_ms: what the profiler's own clock adds to the time of every node.
        node_ms: what the runtime spends on a node that does nothing.
        call_ms: what a call of a model with nothing in it costs.
    """

    threads: int
    peak_gflops: float
    bandwidths: tuple[tuple[int, float], ...]
    clock_ms: float
    node_ms: float
    call_ms: float

    def bandwidth(self, working_bytes: float) -> float:
        """Return GB/s for a working set, interpolated over the logarithm of its size."""
        sizes, rates = zip(*self.bandwidths, strict=True)
        place = math.log(max(working_bytes, 1.0))
        return float(np.interp(place, np.log(sizes), rates))

    def compute_ms(self, macs: float) -> float:
        """Return the least time for so many products."""
        return 2e-6 * macs / self.peak_gflops

    def memory_ms(self, moved_bytes: float) -> float:
        """Return the least time for so many bytes read and written once."""
        return 1e-6 * moved_bytes / self.bandwidth(moved_bytes)

    def reaching(self, works: Sequence[tuple[float, float, float]]) -> Roofline:
        """Return ceilings that no measured work exceeds.

        What the machine is measured with need not be the fastest thing that runs on it: other
        shapes may fit the kernels better, and data may come from a nearer cache.

        Args:
            works: (MACs, bytes moved, milliseconds) of each.
        """
        peak = max([self.peak_gflops, *(2e-6 * macs / ms for macs, _, ms in works if ms > 0)])
        raised = replace(self, peak_gflops=peak)
        factor = max(
            (
                raised.memory_ms(moved) / ms
                for macs, moved, ms in works
                if ms > 0 and raised.bound_of(macs, moved) == "memory"
            ),
            default=1.0,
        )
        if factor <= 1:
            return raised
        rates = tuple((size, rate * factor) for size, rate in self.bandwidths)
        return replace(raised, bandwidths=rates)

    def bound_of(self, macs: float, moved_bytes: float) -> str:
        """Return what bounds a layer: ``compute`` or ``memory``."""
        return "compute" if self.compute_ms(macs) >= self.memory_ms(moved_bytes) else "memory"


def measure_roofline(threads: int = 1) -> Roofline:
    """Measure the ceilings of this machine; takes about two seconds.

    Raises:
        RuntimeFailure: if ONNX Runtime does not run here.
    """
    clock_ms, node_ms, call_ms = measure_clock(threads)
    peak = max(_peak(_gemm(), _GEMM_SIDE**3, threads), _peak(_convs(), _conv_macs(), threads))
    bandwidths = tuple((size, _bandwidth(size, threads, clock_ms)) for size in _COPY_BYTES)
    return Roofline(threads, peak, bandwidths, clock_ms, node_ms, call_ms)


def measure_clock(threads: int = 1) -> tuple[float, float, float]:
    """Return milliseconds the profiler adds per node, a node costs, and an empty call costs.

    Chains of two lengths are run with and without the profiler: the slope is the node, the rest is
    the call.
    """
    few, many = _TINY_NODES
    short, long = (
        _fastest(_runner(_relus(count, _ONE), threads, optimize=False), _TINY_RUNS)
        for count in (few, many)
    )
    node_ms = max(0.0, (long - short) / (many - few))
    profiled = _profiled_node_ms(_relus(many, _ONE), threads, _TINY_RUNS)
    return max(0.0, profiled - node_ms), node_ms, max(0.0, short - few * node_ms)


def _peak(model: bytes, macs: int, threads: int) -> float:
    return 2e-6 * macs / _fastest(_runner(model, threads), _PEAK_RUNS)


def _bandwidth(size: int, threads: int, clock_ms: float) -> float:
    """Return GB/s of a Relu whose input and output fill ``size`` bytes together."""
    count = size // 8
    took = _profiled_node_ms(_relus(_COPIES, (1, count)), threads, _COPY_RUNS, skip_first=True)
    return 1e-6 * size / max(took - clock_ms, 1e-6)


def _fastest(run: Run, runs: int) -> float:
    warm_up(run, 0.3)
    times = []
    for _ in range(runs):
        begin = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - begin) * 1e-6)
    return float(np.percentile(times, _FAST_SHARE))


def _runner(model: bytes, threads: int, *, optimize: bool = True) -> Callable[[], object]:
    session = create_session(model, _NAME, threads, optimize=optimize)
    item = session.get_inputs()[0]
    feeds = {item.name: np.zeros(item.shape, np.float32)}
    return partial(session.run, None, feeds)


def _profiled_node_ms(model: bytes, threads: int, runs: int, *, skip_first: bool = False) -> float:
    with ProfiledSession(model, _NAME, threads, optimize=False) as session:
        item = session.session.get_inputs()[0]
        feeds = {item.name: np.zeros(item.shape, np.float32)}
        for _ in range(runs):
            session.run(feeds)
        nodes = session.finish(runs // 4).nodes
    first = 1 if skip_first else 0
    times = [node.run_ms for node in list(nodes.values())[first:]]
    return undisturbed(np.concatenate(times))


def _relus(count: int, shape: tuple[int, ...]) -> bytes:
    names = ["x", *(f"t{number}" for number in range(count - 1)), "y"]
    nodes = [
        helper.make_node("Relu", [before], [after], name=f"relu{number}")
        for number, (before, after) in enumerate(itertools.pairwise(names))
    ]
    return _model(nodes, shape, shape, {})


def _gemm() -> bytes:
    side = _GEMM_SIDE
    weights = {"w": np.full((side, side), 0.01, np.float32)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="gemm")
    return _model([node], (side, side), (side, side), weights)


def _convs() -> bytes:
    channels, side = _CONV_CHANNELS, _CONV_SIDE
    weight = np.full((channels, channels, 3, 3), 0.01, np.float32)
    names = ["x", *(f"t{number}" for number in range(_CONV_LAYERS - 1)), "y"]
    nodes = [
        helper.make_node("Conv", [before, "w"], [after], name=after, pads=[1, 1, 1, 1])
        for before, after in itertools.pairwise(names)
    ]
    shape = (1, channels, side, side)
    return _model(nodes, shape, shape, {"w": weight})


def _conv_macs() -> int:
    return _CONV_LAYERS * _CONV_CHANNELS**2 * 9 * _CONV_SIDE**2


def _model(
    nodes: list[onnx.NodeProto],
    fed: tuple[int, ...],
    returned: tuple[int, ...],
    weights: dict[str, np.ndarray],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "ceiling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, fed)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, returned)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    return bytes(model.SerializeToString())
