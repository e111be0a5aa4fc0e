"""Make an ONNX file smaller that somebody else wrote, without data, and run it.

    python examples/from_onnx.py

The file is made here first, so that the example needs nothing else.
"""

import numpy as np
import onnxruntime
import torch
from torch import nn

import compressc
from compressc import Goal

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
).eval()
torch.onnx.export(network, (torch.randn(2, 3, 32, 32),), "theirs.onnx", dynamo=True, verbose=False)

program = compressc.load("theirs.onnx")  # proven equal to the file in ONNX Runtime
result = compressc.compress(
    program,
    goal=Goal(macs=0.5),
    passes="magnitude",
    settings=compressc.Settings(measure=False),
)
result.export("ours.onnx")

x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
for name in ("theirs.onnx", "ours.onnx"):
    session = onnxruntime.InferenceSession(name)
    inputs = session.get_inputs()[0]
    (logits,) = session.run(None, {inputs.name: x})
    print(f"{name}: reads {inputs.name} {inputs.shape}, gives {logits.shape}")
