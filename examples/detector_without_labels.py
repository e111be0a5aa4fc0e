"""Compress a network with several outputs and no labels: judged by its agreement with itself.

    python examples/detector_without_labels.py

The result is repaired on pictures (here: smooth noise) and says, output by output, how far it is
from the original.
"""

import torch
from torch import nn

import compressc


class Detector(nn.Module):
    """Boxes and scores for every place of a grid."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.boxes, self.scores = nn.Conv2d(64, 4, 1), nn.Conv2d(64, 3, 1)

    def forward(self, x):
        """Return boxes (N, 4, H / 2, W / 2) and scores (N, 3, H / 2, W / 2)."""
        features = self.body(x)
        return self.boxes(features), self.scores(features)


torch.manual_seed(0)
pictures = nn.functional.interpolate(torch.randn(160, 3, 6, 6), size=24, mode="bilinear")
program = compressc.capture(Detector().eval(), (pictures[:2],))
task = compressc.UnlabeledTask(
    program, (pictures[:120],), (pictures[120:140],), (pictures[140:],), inputs_from="my pictures"
)
result = compressc.compress(
    program,
    goal=0.6,
    task=task,
    passes=["surgeon", "calibrate"],
    # A detector's head often goes on into code that counts on its shape.
    constraints=compressc.Constraints(keep=("boxes", "scores")),
    settings=compressc.Settings(measure=False),
)
print(result.report.accuracy.text)
print(f"{100 * result.report.after.macs / result.report.before.macs:.0f} % of the MACs left")
result.export("detector.onnx")
