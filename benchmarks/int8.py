"""Pruned to half the MACs and quantised to int8, against dense float32, on stock ONNX Runtime.

Weights are random, since speed does not depend on them. ``dense`` is the original as
``torch.onnx.export`` writes it: what a user has today. ``pruned`` and ``int8`` are compressc's: cut
by ``magnitude`` to 0.5 of the MACs, and that file quantised (static QDQ, per channel, calibrated on
noise). ``dense int8`` is the original quantised alike: what quantisation brings alone. All files of
a network are timed in one interleaved run.

    python benchmarks/int8.py --threads 1 --seconds 30 --output benchmarks/int8.json

The goals (one thread, a processor with VNNI): at least 3.5x on ResNet-50 and 3x on MobileNetV1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from kit.records import describe_run, write_record
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.backend.output_drift import measure_drift
from compressc.backend.quantization import PRECISION, quantize
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.models.registry import architectures, build
from compressc.runtime import channel_multiple
from compressc.runtime.benchmark import bench
from compressc.runtime.int8_path import int8_instructions, int8_weight_bits

GOALS = {"resnet50": 3.5, "mobilenet_v1": 3.0, "mobilenet_v2": None, "resnet56": None}
TARGET = 0.5


def calibrated(module: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Give batch norms the statistics of noise, so that random weights do not fade the signal."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain average
        norm.reset_running_stats()
    with torch.no_grad():
        module.train()(inputs)
    return module.eval()


def noise(model: onnx.ModelProto, shape: tuple[int, ...], count: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    name = model.graph.input[0].name
    return [{name: rng.standard_normal((1, *shape), dtype=np.float32)} for _ in range(count)]


def compare(network: str, threads: int, seconds: float, samples: int) -> dict[str, object]:
    torch.manual_seed(0)
    shape = tuple(architectures()[network].input_shape)
    inputs = torch.randn(2, *shape)
    module = calibrated(build(network), torch.randn(8, *shape))
    program = compressc.capture(module, (inputs,)).with_constraints(
        compressc.Constraints(multiple_of=channel_multiple())
    )
    decide = find_pass("magnitude")()
    small = compressc.lower(decide(program, Context(goal=compressc.Goal(macs=TARGET))))
    own, pruned = export_onnx(program), export_onnx(small)
    feeds = noise(pruned, shape, samples, 0)
    bits = int8_weight_bits()
    quantized = quantize(pruned, feeds, weight_bits=bits)
    drift = measure_drift(pruned, quantized.model, noise(pruned, shape, 16, 1))
    models = {
        "pruned": pruned,
        "pruned int8": quantized.model,
        "dense int8": quantize(own, noise(own, shape, samples, 0), weight_bits=bits).model,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"dense": folder / "dense.onnx"}
        torch.onnx.export(
            module,
            (inputs,),
            files["dense"],
            dynamo=True,
            verbose=False,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        )
        for name, model in models.items():
            files[name] = folder / f"{name.replace(' ', '_')}.onnx"
            write_onnx(model, files[name])
        result = bench(list(files.values()), threads=threads, seconds=seconds)
    rows = {}
    first = result.measurements[0]
    for name, measured, ratio in zip(files, result.measurements, result.ratios, strict=True):
        rows[name] = {
            "latency_p50_ms": round(measured.latency_p50_ms, 4),
            "speed_up": round(ratio.speedup, 4),
            "speed_up_low": round(1 / ratio.high, 4),
            "speed_up_high": round(1 / ratio.low, 4),
            "speed_up_cpu_time": round(first.cpu_ms / measured.cpu_ms, 4),
            "size_bytes": measured.size_bytes,
        }
        print(f"  {name:12} {rows[name]}", flush=True)
    reached, goal = rows["pruned int8"]["speed_up"], GOALS.get(network)
    verdict = "" if goal is None else f", goal {goal}x: {'met' if reached >= goal else 'MISSED'}"
    print(f"  pruned int8 against dense float32: {reached:.2f}x{verdict}", flush=True)
    print(f"  int8 against pruned float32: {drift.text}", flush=True)
    return {
        "network": network,
        "goal": goal,
        "files": rows,
        "float_nodes": list(quantized.kept_float),
        "relative_error": round(drift.relative_error, 5),
        "agreement": drift.agreement,
        "bench": json.loads(result.to_json()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(GOALS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--samples", type=int, default=4, help="noise images to calibrate on")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    print(f"int8 instructions here: {', '.join(int8_instructions()) or 'none'}", flush=True)
    rows = []
    for network in arguments.networks:
        print(network, flush=True)
        rows.append(compare(network, arguments.threads, arguments.seconds, arguments.samples))
    if arguments.output:
        document = {
            **describe_run(),
            "target_macs": TARGET,
            "precision": PRECISION,
            "results": rows,
        }
        write_record(arguments.output, document)


if __name__ == "__main__":
    main()
