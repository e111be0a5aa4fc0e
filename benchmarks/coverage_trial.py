"""One model of the coverage benchmark, in a process of its own: prints one JSON line."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from coverage_models import ForeignModel, build_model, list_models, make_inputs
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import compressc
from compressc.contract.context import Context
from compressc.contract.registry import find_pass
from compressc.coupling.graph import Coupling, cost_of, couple
from compressc.errors import CompresscError
from compressc.frontend.archive import load_archive
from compressc.frontend.tracing import capture
from compressc.goal import Bound, Goal
from compressc.lowering.lowered import lower
from compressc.plan import Plan
from compressc.program import Program
from compressc.proof.equivalence import compare_modules
from compressc.proof.masking import masked
from compressc.proof.randomization import random_inputs, randomized
from compressc.runtime.onnx_cost import count_cost

_BATCHES = (1, 3)
_RATIO = 0.5


class Trial:
    """Collects what is known about one model, so that a failure keeps what went before it."""

    def __init__(self, model: ForeignModel) -> None:
        self.line: dict[str, Any] = {
            "model": model.key,
            "family": model.family,
            "inputs": list(model.shapes),
            "stage": "build",
            "ok": False,
            "cpu_seconds": {},
        }
        self._started = time.process_time()

    def done(self, stage: str, following: str) -> None:
        """Note the CPU time of a stage that ended well: others may share the machine."""
        now = time.process_time()
        self.line["cpu_seconds"][stage] = round(now - self._started, 2)
        self.line["stage"] = following
        self._started = now
        # What is known so far, should the time run out.
        sys.stdout.write(json.dumps(self.line) + "\n")
        sys.stdout.flush()


def run_model(model: ForeignModel, save: bool, onnx: bool) -> dict[str, Any]:
    """Take one model through every stage; the result says where it ended and why."""
    trial = Trial(model)
    try:
        _run(trial, model, save, onnx)
    except CompresscError as error:
        trial.line["reason"] = str(error)
    except Exception as error:  # noqa: BLE001 - a crash is a result of this benchmark
        trial.line["reason"] = f"CRASH {type(error).__name__}: {str(error)[:300]}"
    return trial.line


def _run(trial: Trial, model: ForeignModel, save: bool, onnx: bool) -> None:
    line = trial.line
    module, inputs = build_model(model), make_inputs(model)
    line["flops_macs"] = _count_flops(module, inputs)
    trial.done("build", "capture")
    program = capture(module, inputs)
    halve(trial, program, save, onnx)


def halve(trial: Trial, program: Program, save: bool, onnx: bool) -> None:
    """Take a captured model to half its MACs, with proof and parity; the stage before is done."""
    line = trial.line
    line["nodes"] = len(program.graph_module.graph.nodes)
    line["batch"] = "dynamic" if any(program.dynamic_axes) else "fixed"
    trial.done("capture", "couple")
    coupling = couple(program)
    full = coupling.cost(Plan())
    line["macs"], line["params"] = full.macs, full.params
    line["groups"] = len(coupling.groups)
    line["pins"] = _describe_pins(coupling)
    line["unruled"] = sorted({pin.reason for pin in coupling.pins if "rule" in pin.reason})[:5]
    trial.done("couple", "plan")
    decide = find_pass("magnitude")()
    planned = decide(program, Context(goal=Goal(macs=Bound(_RATIO, True))))
    line["macs_ratio"] = round(cost_of(planned).macs / full.macs, 4)
    trial.done("plan", "lower")
    lowered = lower(planned)
    trial.done("lower", "prove")
    _prove(line, planned)
    trial.done("prove", "recouple")
    after = cost_of(lowered)
    if (after.macs, after.params) != (cost_of(planned).macs, cost_of(planned).params):
        line["recount"] = f"{after.macs} MACs {after.params} params, planned {cost_of(planned)}"
    trial.done("recouple", "save")
    if save:
        _save_and_load(line, lowered)
        trial.done("save", "onnx")
    if onnx:
        _check_onnx(line, lowered)
        trial.done("onnx", "done")
    line["stage"] = "done"
    line["ok"] = bool(line["proved"] and line["macs_ratio"] <= _RATIO + 0.005)


def _count_flops(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> int | None:
    counter = FlopCounterMode(display=False)
    # The counter knows attention on CPU only once it is written as matrix products.
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            module(*inputs)
    except AssertionError:  # the counter's module tracker trips over some models
        with torch.no_grad():
            module(*inputs)
        return None
    return int(counter.get_total_flops()) // 2 // inputs[0].shape[0]


def _describe_pins(coupling: Coupling) -> dict[str, int]:
    """Return the three reasons that pin most channels."""
    counts: dict[str, int] = {}
    for group in coupling.groups:
        if group.pinned is not None:
            counts[group.pinned] = counts.get(group.pinned, 0) + group.size
    return dict(sorted(counts.items(), key=lambda item: -item[1])[:3])


def _prove(line: dict[str, Any], planned: Program) -> None:
    drawn = randomized(planned)
    verdict = compare_modules(
        masked(drawn), lower(drawn).graph_module, random_inputs(planned.example_inputs, 1)
    )
    line["proved"] = verdict.passed
    line["relative_error"] = verdict.relative_error
    line["informative"] = verdict.informative
    if not verdict.passed:
        line["reason"] = f"lowered != masked: {verdict.relative_error:.2e}"


def _save_and_load(line: dict[str, Any], lowered: Program) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.pt2"
        compressc.save(lowered, path)
        line["pt2_bytes"] = path.stat().st_size
        again = load_archive(path)
    inputs = lowered.example_inputs
    same = compare_modules(lowered.graph_module, again.graph_module, inputs, tolerance=1e-5)
    line["pt2"] = same.passed
    if not same.passed:
        line["reason"] = f"reloaded .pt2 differs: {same.relative_error:.2e}"


def _check_onnx(line: dict[str, Any], lowered: Program) -> None:
    export: Any = importlib.import_module("compressc.backend.onnx_export")
    parities: Any = importlib.import_module("compressc.parity.onnx_parity")
    line["onnx"] = False
    batches = _BATCHES if any(lowered.dynamic_axes) else (lowered.example_inputs[0].shape[0],)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.onnx"
        export.write_onnx(export.export_onnx(lowered), path)
        parity = parities.compare(
            lowered.graph_module,
            path,
            lowered.example_inputs,
            batches=batches,
            dynamic_axes=lowered.dynamic_axes,
        )
        counted = count_cost(path)
    line["onnx"] = parity.passed
    line["onnx_error"] = parity.max_error
    line["onnx_macs"] = counted.macs // counted.batch
    line["lowered_macs"] = cost_of(lowered).macs
    if not parity.passed:
        line["reason"] = f"torch != ONNX Runtime: {parity.max_error:.2e}"


def main() -> None:
    """Run the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--no-onnx", action="store_true")
    parser.add_argument("--no-save", action="store_true")
    parser.add_argument("--torch-pruning", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = next(m for m in list_models() if m.key == arguments.model)
    if arguments.torch_pruning:
        from coverage_torch_pruning import run_torch_pruning

        line = run_torch_pruning(model)
    else:
        line = run_model(model, not arguments.no_save, not arguments.no_onnx)
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
