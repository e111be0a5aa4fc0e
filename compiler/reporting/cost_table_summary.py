"""A cost table on the terminal: what it covers, and how well it fits the network itself."""

from __future__ import annotations

from compressc.reporting.quantities import readable_ms
from compressc.reporting.terminal_table import print_line
from compressc.runtime.cost_prediction import predict
from compressc.runtime.cost_table import CostTable


def print_cost_table(table: CostTable, path: str) -> None:
    """Print where the table went, what it holds, and prediction against measurement."""
    print_line(
        f"wrote {path}: {table.size} latencies of {len(table.cells)} kernel kinds on "
        f"{table.machine.cpu_model}, onnxruntime {table.machine.onnxruntime}, threads "
        f"{table.threads}"
    )
    for name, kernels in table.networks.items():
        prediction = predict(table, kernels)
        measured = kernels.latency_ms["p50"]
        print_line(
            f"  {name}: predicted {readable_ms(prediction.latency_ms)}, measured "
            f"{readable_ms(measured)} ({prediction.latency_ms / measured - 1:+.1%})"
        )
        if prediction.unknown_ms:
            share = prediction.unknown_ms / prediction.latency_ms
            print_line(
                f"  note: {share:.1%} of it are kernels that cannot be run on their own; their "
                "latency is taken not to change with the widths"
            )
    if not table.quiet:
        print_line(
            "  note: the machine was busy while some of it was measured; repeat with --fresh on a "
            "quiet machine before you rely on it"
        )
