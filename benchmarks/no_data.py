"""Accuracy of the default recipe without any data, on the test split that nothing else sees.

Claim: ``compressc model.pt --target-flops 0.5`` hands back a network that still works. The inputs
on which it is repaired are made from the network alone; test images judge the result and nothing
else. The same recipe on real pictures without labels, and the bare cut by magnitude, stand beside
it.

Run: python benchmarks/no_data.py --data cifar10-jpeg.tar.gz --model resnet56-cifar10-jpeg.pt \
    --arch resnet56 --speedups 2.0 2.57
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

import compressc
from compressc.clock import Clock
from compressc.datasets.opening import open_task
from compressc.datasets.synthetic.making import SyntheticSettings
from compressc.goal import Goal
from compressc.models.checkpoints import Normalization
from compressc.pipeline.job import Job
from compressc.pipeline.sampling import with_samples
from compressc.runtime.machine import describe_machine
from compressc.settings import Repair, Settings

NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--arch", default="resnet56")
    parser.add_argument("--speedups", type=float, nargs="+", default=[2.0, 2.57])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--multiple-of", type=int, help="as on the command line")
    parser.add_argument("--repair-seconds", type=float, help="as on the command line")
    parser.add_argument("--work-dir", help="keeps synthetic inputs for the next run")
    parser.add_argument("--skip", nargs="*", default=[], help="bare, real")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    judge = open_task(options.data, normalization=NORMALIZATION, input_shape=(3, 32, 32))
    program = compressc.load(options.model, arch=options.arch, input_shape=(3, 32, 32))
    base = judge.evaluate(program.module())
    print(f"base {base:.2f} %", flush=True)
    rows = []
    for seed in range(options.seeds):
        clock = Clock(_show)
        repair = Repair(seconds=options.repair_seconds)
        processor = time.process_time()
        job = Job(program, Goal(seed=seed), work_dir=options.work_dir, repair=repair)
        job = with_samples(job, program, clock)
        making = time.process_time() - processor
        print(f"seed {seed}: {making:.0f} processor s; {'; '.join(job.task.notes)}", flush=True)
        sources = {
            "no data": {"task": job.task},
            "bare": {"repair": False, "passes": "magnitude"},
            "real": {"task": judge},
        }
        for speedup in options.speedups:
            for name, source in sources.items():
                if name in options.skip or (name == "bare" and seed):
                    continue
                started, processor = time.perf_counter(), time.process_time()
                result = compressc.compress(
                    program,
                    goal=Goal(macs=1 / speedup, seed=seed),
                    multiple_of=options.multiple_of,
                    settings=Settings(measure=False),
                    **source,
                )
                seconds = time.perf_counter() - started
                processor = time.process_time() - processor
                accuracy = judge.evaluate(result.program.module())
                row = {
                    "model": options.arch,
                    "samples": name,
                    "seed": seed,
                    "asked": speedup,
                    "macs_ratio": round(result.report.before.macs / result.report.after.macs, 4),
                    "channel_step": result.report.multiple_of,
                    "test_accuracy": round(accuracy, 2),
                    "share_of_base": round(accuracy / base, 4),
                    "making_processor_seconds": round(making, 1) if name == "no data" else 0.0,
                    "seconds": round(seconds, 1),
                    "processor_seconds": round(processor, 1),
                    "said": result.report.accuracy.text,
                }
                rows.append(row)
                print(row, flush=True)
                _write(options, base, rows)


def _write(options: argparse.Namespace, base: float, rows: list[dict[str, object]]) -> None:
    known = json.loads(options.out.read_text())["models"] if options.out.exists() else {}
    settings = asdict(SyntheticSettings())
    known[options.arch] = {"base_test_accuracy": round(base, 2), "rows": rows}
    document = {
        "data": "CIFAR-10-JPEG, test split",
        "command": "python benchmarks/no_data.py --data cifar10-jpeg.tar.gz --model MODEL",
        "synthetic": settings,
        "threads": options.threads,
        "machine": describe_machine().to_dict(),
        "note": "other jobs shared the two processors: seconds are upper bounds",
        "models": known,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


def _show(done: int, total: int, text: str) -> None:
    if total and done % 20 == 0:
        print(f"  {done}/{total} {text}", flush=True)


if __name__ == "__main__":
    main()
