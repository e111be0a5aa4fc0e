"""Do zero channels pay? Odd and even counts against the next four, and the next block.

Chains of four convolutions are exported at each count, padded to a multiple of 4 and to whole
blocks, and timed in interleaved rounds; the outputs are compared. ``chosen`` is what the compiler
would do by itself, by timing both files once more.

    python benchmarks/padding.py --output benchmarks/padding.json      # about 3 minutes, keep quiet
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from kit.records import describe_run, write_record
from torch import nn

import compressc
from compressc.backend.channel_padding import pad_channels
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.latency.padding_choice import pad_where_faster
from compressc.runtime.benchmark import bench
from compressc.runtime.machine import channel_multiple
from compressc.runtime.session import create_session

SIDE, ENDS = 28, 32
CASES = {
    3: (8, 11, 12, 20, 23, 24, 40, 45, 97, 100, 113),
    1: (45, 90, 97, 100, 101, 120, 127),
}


def export(width: int, kernel: int) -> onnx.ModelProto:
    torch.manual_seed(0)
    around = kernel // 2
    widths = (ENDS, width, width, width, ENDS)
    layers: list[nn.Module] = [nn.Conv2d(3, ENDS, 3, padding=1), nn.ReLU()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=around), nn.ReLU()]
    model = nn.Sequential(*layers).eval()
    return export_onnx(compressc.capture(model, (torch.randn(2, 3, SIDE, SIDE),)))


def measure(width: int, kernel: int, seconds: float, folder: Path) -> dict[str, object]:
    plain = export(width, kernel)
    models = {"plain": plain}
    for name, step in (("fours", 4), ("blocks", channel_multiple())):
        padded = pad_channels(plain, step)
        if padded is not None:
            models[name] = padded.model
    paths = []
    for name, model in models.items():
        paths.append(folder / f"{kernel}-{width}-{name}.onnx")
        write_onnx(model, paths[-1])
    result = bench(paths, seconds=seconds, peak_rss=False)
    wall = {
        name: round(ratio.speedup, 3)
        for name, ratio in zip(models, result.ratios, strict=True)
        if name != "plain"
    }
    cpu = {
        name: round(result.measurements[0].cpu_ms / measurement.cpu_ms, 3)
        for name, measurement in zip(models, result.measurements, strict=True)
        if name != "plain"
    }
    chosen, _ = pad_where_faster(plain, 1, 1, {})
    return {
        "kernel": kernel,
        "channels": width,
        "plain_p50_ms": round(result.measurements[0].latency_p50_ms, 4),
        "speedup_when_padded_to": wall,
        "speedup_by_cpu_time": cpu,
        "difference": max(map(float, (difference(plain, m) for m in models.values()))),
        "chosen": "padded" if chosen is not plain else "plain",
        "quiet": result.quietness.is_quiet,
    }


def difference(plain: onnx.ModelProto, padded: onnx.ModelProto) -> float:
    """Return the largest difference of outputs as a share of their spread."""
    x = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)
    before, after = (
        create_session(model.SerializeToString(), "a convolution").run(
            None, {model.graph.input[0].name: x}
        )[0]
        for model in (plain, padded)
    )
    return float(np.abs(before - after).max() / before.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="benchmarks/padding.json")
    parser.add_argument("--seconds", type=float, default=3.0, help="per case")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kernel, widths in CASES.items():
            for width in widths:
                rows.append(measure(width, kernel, options.seconds, Path(folder)))
                print(rows[-1], flush=True)
    write_record(options.output, {**describe_run(), "threads": 1, "rows": rows})


if __name__ == "__main__":
    main()
