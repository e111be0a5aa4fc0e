"""Accuracy of a pruned ResNet-56 on CIFAR-10-JPEG without training and without labels.

Claim: at 2.12 times fewer MACs, ``surgeon`` and ``calibrate`` keep at least 97 % of the base
accuracy in under five minutes on two cores. Every row is evaluated on the test split once. The
settings of the passes are their defaults, chosen on 5,000 training images (mirrored), which the
network was trained on: accuracies there are higher, and their order is what counted.

Run: python benchmarks/recovery.py --data cifar10-jpeg.tar.gz --model resnet56-cifar10-jpeg.pt
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from kit.records import describe_run, write_record
from kit.turns import Stopwatch

import compressc
from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.coupling.graph import cost_of
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.passes.magnitude import Magnitude
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.passes.surgeon import Surgeon

# Widths are free: at multiples of 16 the same MACs cost more accuracy and less time, see
# benchmarks/speed.py.
CLOSED_FORM = RefinementSettings(refine_steps=0)
RECIPES: dict[str, tuple[Pass, ...]] = {
    "surgeon, calibrate": (Surgeon(), Calibration()),
    "surgeon, calibrate in closed form": (Surgeon(), Calibration(refinement=CLOSED_FORM)),
    "magnitude, as cut": (Magnitude("l1"),),
    "magnitude, batch norms": (Magnitude("l1"), Calibration(reconstruct=False)),
    "magnitude, calibrate in closed form": (
        Magnitude("l1"),
        Calibration(refinement=CLOSED_FORM),
    ),
    "surgeon, as cut": (Surgeon(),),
    "surgeon, calibrate in closed form without residual targets": (
        Surgeon(),
        Calibration(residual=False, refinement=CLOSED_FORM),
    ),
}
NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--arch", default="resnet56")
    parser.add_argument("--speedup", type=float, default=2.12, help="original MACs by new ones")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--multiple-of", type=int, default=1)
    parser.add_argument("--only", help="one recipe by name")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    started = time.perf_counter()
    task = open_task(options.data, normalization=NORMALIZATION, input_shape=(3, 32, 32))
    loading = time.perf_counter() - started
    program = compressc.load(options.model, arch=options.arch, input_shape=(3, 32, 32))
    program = program.with_constraints(compressc.Constraints(multiple_of=options.multiple_of))
    base = task.evaluate(program.module())
    full = cost_of(program).macs
    print(f"data in {loading:.0f} s, base {base:.2f} %, {full:,} MACs", flush=True)
    rows = []
    for name, recipe in RECIPES.items():
        if options.only and name != options.only:
            continue
        for seed in range(options.seeds):
            context = Context(Goal(macs=1 / options.speedup, seed=seed), task=task)
            watch, decided = Stopwatch(), program
            for run_pass in recipe:
                decided = run_pass(decided, context)
            taken = watch.read()
            module = compressc.lower(decided).module()
            row = {
                "recipe": name,
                "seed": seed,
                "macs_ratio": round(full / cost_of(decided).macs, 4),
                "test_accuracy": round(task.evaluate(module), 2),
                "seconds": round(taken.wall, 1),
                "processor_seconds": round(taken.processor, 1),
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "widths": [int(mask.sum()) for mask in decided.plan.keep.values()],
            }
            row["share_of_base"] = round(row["test_accuracy"] / base, 4)
            rows.append(row)
            print({key: value for key, value in row.items() if key != "widths"}, flush=True)
            document = {
                "data": "CIFAR-10-JPEG",
                "model": options.arch,
                "base_test_accuracy": round(base, 2),
                "goal_macs_ratio": options.speedup,
                "multiple_of": options.multiple_of,
                "threads": options.threads,
                "loading_seconds": round(loading, 1),
                **describe_run(),
                "rows": rows,
            }
            write_record(options.out, document)


if __name__ == "__main__":
    main()
