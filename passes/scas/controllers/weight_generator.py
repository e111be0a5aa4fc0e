"""The HyperNet: from the encoding of an architecture to the weights of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt

import torch
from torch import Tensor, nn

_FEATURES = 16
_CODE = 32


class WeightGenerator(nn.Module):
    """Reads the encoding of an architecture by convolutions and gives weights by name.

    Generated weights have the variance that He et al. give layers with ReLU.

    Args:
        shapes: of the weights, by name.
        encoding: shape of an encoding, (features, rows, columns).

    Source:
        Brock et al., SMASH, ICLR 2018, section 3.2.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], encoding: tuple[int, ...]) -> None:
        super().__init__()
        features, rows, columns = encoding
        self._shapes = dict(shapes)
        self.trunk = nn.Sequential(
            nn.Conv2d(features, _FEATURES, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(_FEATURES * rows * columns, _CODE),
        )
        self.embeddings = nn.Embedding(max(1, len(shapes)), _CODE)
        self.heads = nn.ModuleDict(
            {_key(shape): nn.Linear(_CODE, prod(shape)) for shape in self._shapes.values()}
        )

    def forward(self, encoding: Tensor) -> dict[str, Tensor]:
        """Return the weights of an architecture.

        Shape:
            encoding (features, rows, columns); each weight as it was asked for.
        """
        code = self.trunk(encoding[None].float())[0]
        weights = {}
        for number, (name, shape) in enumerate(self._shapes.items()):
            mixed = torch.tanh(code + self.embeddings.weight[number])
            flat = self.heads[_key(shape)](mixed)
            scale = sqrt(2 / prod(shape[1:])) / (flat.std() + 1e-5)
            weights[name] = (flat * scale).view(shape)
        return weights


def _key(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
