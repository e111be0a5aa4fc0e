"""What even widths leave of a detector whose last layers hold few MACs.

MTCNN's ONet (trained weights from the package facenet-pytorch, file ``data/onet.pt``) at half the
MACs by ``magnitude``, bare and with ``calibrate`` on real pictures: widths, parameters, and the
error of its three outputs beside what each varies by. Pictures as in ``no_data_detector.py``.

Run: python benchmarks/even_widths.py --weights onet.pt --data cifar10-jpeg.tar.gz
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from no_data_detector import SIDE, TEST, measure_errors, open_detector

import compressc
from compressc.goal import Goal
from compressc.runtime.machine import describe_machine
from compressc.settings import Settings

_STEPS = (16, 8, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    program, real, test = open_detector(options.weights, options.data)
    rows = []
    for step in _STEPS:
        for passes in (["magnitude"], ["magnitude", "calibrate"]):
            started = time.process_time()
            result = compressc.compress(
                program,
                goal=Goal(macs=0.5),
                passes=passes,
                task=real,
                multiple_of=step,
                settings=Settings(measure=False),
            )
            row = {
                "channel_step": step,
                "passes": passes,
                "macs_share": round(result.report.after.macs / result.report.before.macs, 4),
                "params": result.report.after.params,
                "out_channels": {r.name: r.widths_after[1] for r in result.report.layers},
                "relative_errors": measure_errors(program.module(), result.program.module(), test),
                "processor_seconds": round(time.process_time() - started, 1),
            }
            rows.append(row)
            print(row, flush=True)
            document = {
                "network": "MTCNN ONet, weights of facenet-pytorch",
                "data": f"CIFAR-10-JPEG, {TEST} test images scaled to {SIDE}x{SIDE}",
                "outputs": ["boxes", "landmarks", "probability"],
                "threads": 1,
                "seed": 0,
                "machine": describe_machine().to_dict(),
                "note": "other jobs shared the two processors",
                "rows": rows,
            }
            options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
