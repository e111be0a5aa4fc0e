"""How much faster are zeros on the sparse engine? Against the dense original in ONNX Runtime.

Each network is pruned by ``sparsify`` (magnitudes of single weights, of trained ones where
the zoo has them) and written with sparse nodes. Interleaved in
one run: the original as ``torch.onnx.export`` writes it, the pruned file in stock ONNX Runtime
(the same bytes of weights, dense kernels), and the sparse file on the engine.

    python benchmarks/sparse_engine.py --threads 1 --seconds 8
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from kit.records import describe_run, write_record
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.models.checkpoints import load_checkpoint
from compressc.models.registry import architectures, build, weights_path
from compressc.runtime import engine_info
from compressc.runtime.benchmark import bench
from compressc.sparse_graph.emission import emit_sparse_nodes

# (network, batches, what the issue asks at 90 % on an AVX-512 machine).
ROWS: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "mobilenet_v1": ((1,), (3.0,)),
    "resnet56": ((1, 64), (5.0, 5.5)),
    "resnet50": ((1,), (3.5,)),
    "lenet300_100": ((1, 32), (8.0, 8.0)),
    "linear_4096": ((1, 32), (8.0, 6.0)),
}
# Networks of linear layers are pruned whole; of the others the first and last layer stay dense.
ALL_LAYERS = ("lenet300_100", "linear_4096")


def make_network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    if name == "linear_4096":
        return nn.Linear(4096, 4096), (4096,)
    module = build(name)
    weights = weights_path(name)
    if weights is not None:
        module.load_state_dict(load_checkpoint(weights).state_dict)
    return module, tuple(architectures()[name].input_shape)


def write_files(name: str, sparsity: float, folder: Path) -> dict[str, Path]:
    torch.manual_seed(0)
    module, shape = make_network(name)
    inputs = torch.randn(2, *shape)
    program = compressc.capture(module.eval(), (inputs,))
    sparsify = find_pass("sparsify")(sparsity=sparsity, skip_first_last=name not in ALL_LAYERS)
    pruned = compressc.lower(sparsify(program, Context(goal=compressc.Goal())))
    files = {part: folder / f"{part}.onnx" for part in ("dense", "pruned", "engine")}
    torch.onnx.export(
        module,
        (inputs,),
        files["dense"],
        dynamo=True,
        verbose=False,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
    )
    model = export_onnx(pruned)
    write_onnx(model, files["pruned"])
    write_onnx(emit_sparse_nodes(model).model, files["engine"])
    return files


def measure(
    name: str, sparsity: float, batch: int, asked: float, threads: int, seconds: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(name, sparsity, Path(folder))
        result = bench(
            list(files.values()), threads=threads, batch=batch, seconds=seconds, peak_rss=False
        )
        sizes = {part: path.stat().st_size for part, path in files.items()}
    dense = result.measurements[0]
    row: dict[str, Any] = {
        "network": name,
        "sparsity": sparsity,
        "batch": batch,
        "threads": threads,
    }
    for part, measured, ratio in zip(files, result.measurements, result.ratios, strict=True):
        row[part] = {
            "latency_p50_ms": round(measured.latency_p50_ms, 4),
            "speed_up": round(ratio.speedup, 3),
            "speed_up_low": round(1 / ratio.high, 3),
            "speed_up_high": round(1 / ratio.low, 3),
            "speed_up_cpu_time": round(dense.cpu_ms / measured.cpu_ms, 3),
            "size_of_dense": round(sizes[part] / sizes["dense"], 4),
        }
    row["quiet"] = result.quietness.is_quiet
    row["asked"] = asked if sparsity == 0.9 else None
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(ROWS))
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.9])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    info = engine_info()
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        for sparsity in options.sparsity:
            for batch, asked in zip(*ROWS[name], strict=True):
                rows.append(measure(name, sparsity, batch, asked, options.threads, options.seconds))
                write_record(options.output, {**describe_run(), "kernels": info.used, "rows": rows})


if __name__ == "__main__":
    main()
