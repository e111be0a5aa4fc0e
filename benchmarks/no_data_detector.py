"""What the default recipe leaves of a detector without batch norms, without any data.

MTCNN's ONet (trained weights from the package facenet-pytorch, file ``data/onet.pt``) at half the
MACs: error of its three outputs (boxes, landmarks, probability) on real pictures, beside what each
varies by. Pictures: the test split of CIFAR-10-JPEG, scaled to 48x48 as the network reads them.

Run: python benchmarks/no_data_detector.py --weights onet.pt --data cifar10-jpeg.tar.gz
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.program import Program
from compressc.runtime.machine import describe_machine
from compressc.settings import Settings
from compressc.tasks.unlabeled import UnlabeledTask, split_inputs

SIDE = 48
TEST = 2000


class ONet(nn.Module):
    """The output network of MTCNN, with the parameter names of facenet-pytorch.

    Source:
        Zhang et al., Joint Face Detection and Alignment using Multitask Cascaded Convolutional
        Networks, 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.softmax6_1 = nn.Linear(256, 2), nn.Softmax(dim=1)
        self.dense6_2, self.dense6_3 = nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, landmarks and the probability of a face."""
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x)).permute(0, 3, 2, 1).contiguous()
        x = self.prelu5(self.dense5(x.flatten(1)))
        return self.dense6_2(x), self.dense6_3(x), self.softmax6_1(self.dense6_1(x))


def open_detector(weights: str, source: str) -> tuple[Program, UnlabeledTask, Tensor]:
    """Return the network, a task of real pictures, and pictures that nothing else sees."""
    network = ONet()
    network.load_state_dict(torch.load(weights, weights_only=True))
    program = compressc.capture(network.eval(), (torch.randn(2, 3, SIDE, SIDE),))
    data = open_task(source, input_shape=(3, 32, 32)).data
    order = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
    test = _as_read(data.test.images[order[:TEST]])
    real = UnlabeledTask(
        program, *split_inputs((_as_read(data.train.images[:1000]),), 0), inputs_from="pictures"
    )
    return program, real, test


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    program, real, test = open_detector(options.weights, options.data)
    sources = {"bare": {"repair": False}, "no data": {}, "real pictures": {"task": real}}
    rows = []
    for seed in range(options.seeds):
        for name, source in sources.items():
            started = time.process_time()
            result = compressc.compress(
                program, goal=Goal(macs=0.5, seed=seed), settings=Settings(measure=False), **source
            )
            row = {
                "samples": name,
                "seed": seed,
                "macs_ratio": round(result.report.before.macs / result.report.after.macs, 4),
                "relative_errors": measure_errors(program.module(), result.program.module(), test),
                "processor_seconds": round(time.process_time() - started, 1),
                "said": result.report.accuracy.text,
            }
            rows.append(row)
            print(row, flush=True)
            document = {
                "network": "MTCNN ONet, weights of facenet-pytorch",
                "data": f"CIFAR-10-JPEG, {TEST} test images scaled to {SIDE}x{SIDE}",
                "outputs": ["boxes", "landmarks", "probability"],
                "threads": options.threads,
                "machine": describe_machine().to_dict(),
                "note": "other jobs shared the two processors",
                "rows": rows,
            }
            options.out.write_text(json.dumps(document, indent=1) + "\n")


def _as_read(images: Tensor) -> Tensor:
    """Return uint8 images as ONet reads them: 48x48, from -1 to 1."""
    size = (SIDE, SIDE)
    scaled = (images.float() - 127.5) / 128
    return F.interpolate(scaled, size=size, mode="bilinear", antialias=True)


def measure_errors(original: nn.Module, small: nn.Module, pictures: Tensor) -> list[float]:
    errors = []
    with torch.no_grad():
        pairs = zip(original.eval()(pictures), small.eval()(pictures), strict=True)
        for before, after in pairs:
            varied = (before - before.mean(0)).square().mean().sqrt()
            errors.append(round(float((after - before).square().mean().sqrt() / varied), 4))
    return errors


if __name__ == "__main__":
    main()
