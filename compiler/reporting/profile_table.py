"""A profile on the terminal."""

from __future__ import annotations

from compressc.reporting.quantities import readable_bytes, readable_count, readable_ms
from compressc.reporting.terminal_table import Column, print_line, print_table
from compressc.runtime.profile_result import LayerTime, Profile

_COLUMNS = (
    Column("layer", numeric=False),
    Column("runs as", numeric=False),
    *map(Column, ("time", "share")),
    Column("", numeric=False),
    *map(Column, ("MACs", "GFLOP/s", "of ceiling")),
    Column("bound by", numeric=False),
)
_SHOWN = 20
_BAR = 16
_KINDS = 6


def print_profile(profile: Profile, *, everything: bool = False) -> None:
    """Print the costliest layers (or all, in order), the sums, and what to keep in mind."""
    shown = profile.layers
    if not everything:
        shown = tuple(sorted(shown, key=lambda layer: -layer.latency_ms)[:_SHOWN])
    most = max((layer.share for layer in profile.layers), default=1.0)
    print_table(_COLUMNS, [_cells(layer, most) for layer in shown])
    left = len(profile.layers) - len(shown)
    if left:
        rest = sum(layer.share for layer in profile.layers) - sum(layer.share for layer in shown)
        print_line(f"  and {left} more with {rest:.1%} of the time; --all lists them in order")
    print_line()
    for line in summary_lines(profile):
        print_line(f"  {line}")
    for note in (*profile.uncounted, *profile.notes):
        print_line(f"  note: {note}")


def summary_lines(profile: Profile) -> list[str]:
    """Return the sums and the circumstances as sentences."""
    roofline, machine = profile.roofline, profile.machine
    kinds = [f"{op} {ms / profile.kernels_ms:.0%}" for op, ms in profile.by_op().items()]
    memory = sum(layer.share for layer in profile.layers if layer.bound == "memory")
    rates = ", ".join(f"{rate:.0f} ({readable_bytes(size)})" for size, rate in roofline.bandwidths)
    gflops = 2e-6 * profile.macs / profile.kernels_ms if profile.kernels_ms else 0.0
    return [
        f"latency {readable_ms(profile.latency_p50_ms)} (p50), CPU time "
        f"{readable_ms(profile.cpu_ms)}{_outside(profile)}; {profile.runs} runs",
        f"{', '.join(kinds[:_KINDS])}; {memory:.0%} of the time is in memory-bound layers",
        f"{readable_count(profile.macs)} MACs at {gflops:.0f} GFLOP/s, "
        f"{gflops / roofline.peak_gflops:.0%} of the measured peak of "
        f"{roofline.peak_gflops:.0f}; memory GB/s by working set: {rates}",
        f"{machine.cpu_model}, {machine.logical_cores} cores; onnxruntime {machine.onnxruntime}, "
        f"threads {profile.threads}, batch {profile.batch}",
    ]


def _cells(layer: LayerTime, most: float) -> list[str]:
    return [
        layer.layer,
        f"{layer.op}{' (blocked)' if layer.blocked else ''}",
        readable_ms(layer.latency_ms),
        f"{layer.share:.1%}",
        "#" * round(_BAR * layer.share / most) if most else "",
        readable_count(layer.macs) if layer.macs else "-",
        "-" if layer.gflops is None else f"{layer.gflops:.0f}",
        f"{layer.efficiency:.0%}",
        layer.bound,
    ]


def _outside(profile: Profile) -> str:
    """Say what of a run is in layers, and what outside; the profiler itself may take longer."""
    layers = readable_ms(profile.kernels_ms)
    if profile.overhead_ms < 0:
        return f", layers {layers} under the profiler"
    return f" = layers {layers} + runtime {readable_ms(profile.overhead_ms)}"
