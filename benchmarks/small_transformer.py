"""A vision transformer at half its MACs, repaired without labels, on MNIST.

Claim: a network of layer norms and attention keeps at least 95 % of its accuracy at half the MACs
when it is repaired on unlabelled images, and it is known what is left without any data. The
transformer is trained here, on the training part; the test split judges, and nothing else sees it.

Run: python benchmarks/small_transformer.py --data mnist
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from kit.records import describe_run, write_record
from kit.turns import Stopwatch
from torch import Tensor, nn

import compressc
from compressc.datasets.opening import open_task
from compressc.goal import Goal
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings
from compressc.passes.surgeon import Surgeon
from compressc.settings import Settings
from compressc.tasks.unlabeled import UnlabeledTask

WIDTH, HEADS, DEPTH, PATCH = 64, 4, 4, 7


class Layer(nn.Module):
    """Attention and an MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_a, self.norm_b = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens; (N, tokens, width) to the same."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(self.norm_a(x)).reshape(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return x + self.down(F.gelu(self.up(self.norm_b(x))))


class SmallTransformer(nn.Module):
    """A vision transformer on images of 28 x 28: 16 patches, the mean of them is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, stride=PATCH)
        self.places = nn.Parameter(0.02 * torch.randn(1, (28 // PATCH) ** 2, WIDTH))
        self.layers = nn.Sequential(*[Layer() for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; (N, 1, 28, 28) to (N, 10)."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(x)).mean(1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--speedup", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    task = open_task(options.data, input_shape=(1, 28, 28))
    rows = []
    for seed in range(options.seeds):
        started = time.perf_counter()
        model = train(task, options.epochs, seed)
        program = compressc.capture(model, (torch.randn(2, 1, 28, 28),))
        base = task.evaluate(program.module())
        print(f"seed {seed}: base {base:.2f} %, {time.perf_counter() - started:.0f} s", flush=True)
        images = torch.cat([batch[0] for batch in task.calibration_batches(2048, seed)])
        unlabeled = UnlabeledTask(
            program, (images[:1536],), (images[1536:1792],), (images[1792:],), "images"
        )
        closed = Calibration(refinement=RefinementSettings(refine_steps=0))
        cases = {
            "bare cut": {"repair": False, "passes": "magnitude"},
            "no data": {},
            "unlabelled, closed form": {"task": unlabeled, "passes": [Surgeon(), closed]},
            "unlabelled": {"task": unlabeled},
        }
        for name, case in cases.items():
            watch = Stopwatch()
            result = compressc.compress(
                program,
                goal=Goal(macs=1 / options.speedup, seed=seed),
                settings=Settings(measure=False),
                **case,
            )
            taken = watch.read()
            accuracy = task.evaluate(result.program.module())
            row = {
                "case": name,
                "seed": seed,
                "base_test_accuracy": round(base, 2),
                "macs_ratio": round(result.report.before.macs / result.report.after.macs, 4),
                "test_accuracy": round(accuracy, 2),
                "share_of_base": round(accuracy / base, 4),
                "processor_seconds": round(taken.processor, 1),
                "said": result.report.accuracy.text,
            }
            rows.append(row)
            print(row, flush=True)
            document = {
                "data": "MNIST, test split",
                "model": f"{DEPTH} layers of {WIDTH}, {HEADS} heads, {options.epochs} epochs",
                "threads": options.threads,
                **describe_run(),
                "rows": rows,
            }
            write_record(options.out, document)


def train(task: compressc.Task, epochs: int, seed: int) -> nn.Module:
    """Return a transformer that was trained on the training part."""
    torch.manual_seed(seed)
    model = SmallTransformer()
    steps = epochs * sum(1 for _ in task.train_batches(0, seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        for inputs, labels in task.train_batches(epoch, seed):
            optimizer.zero_grad()
            torch.autograd.backward(task.loss(model(*inputs), labels))
            optimizer.step()
            schedule.step()
    return model.eval()


if __name__ == "__main__":
    main()
