"""Compress a classifier to half its MACs, train it on with a loop of your own, write the file.

    python examples/own_training_loop.py

Needs scikit-learn for the pictures: handwritten digits, 8 x 8. Takes some seconds.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import compressc
from compressc import Goal

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
train = DataLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=50, shuffle=True)
test_images, test_labels = images[1400:], labels[1400:]

model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
)


def learn(network, epochs, rate):
    """Train in place."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    for _ in range(epochs):
        for x, label in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), label).backward()
            optimizer.step()


def accuracy(network):
    """Return the share of test pictures that are told apart rightly, in percent."""
    network.eval()
    with torch.no_grad():
        return 100 * float((network(test_images).argmax(1) == test_labels).float().mean())


learn(model, epochs=8, rate=0.05)
print(f"original: {accuracy(model):.1f} %")

# Widths by the size of weights alone: training comes behind it.
result = compressc.compress(
    model,
    images[:2],
    goal=Goal(macs=0.5),
    passes="magnitude",
    settings=compressc.Settings(seconds=1.0),
)
small = result.program.module()
print(f"half the MACs, before training: {accuracy(small):.1f} %")
learn(small, epochs=8, rate=0.02)
print(f"half the MACs, trained: {accuracy(small):.1f} %")

# The file is made and checked anew from the trained weights.
result = result.with_state(small.state_dict())
result.export("digits.onnx")
print(result.report)
