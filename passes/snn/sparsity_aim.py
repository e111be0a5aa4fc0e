"""The aim at a share of zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from compressc.passes.snn.switched_layers import SwitchedLayer
from compressc.passes.snn.unread_units import follow_unread
from compressc.program import Program

# Of what a layer would keep if all layers were alike, it keeps this part at least.
_SPARED = 0.1


@dataclass(frozen=True, eq=False)
class SparsityAim:
    """A share of zeros in the switched weights, by one threshold for all layers.

    What feeds a neuron that nothing reads counts as zero in the neuron mode. No layer loses
    everything: each keeps a tenth of what it would keep if all were alike.

    Attributes:
        program: with the layers.
        sparsity: share of zeros.
        layers: the switched layers, all in the same mode.
    """

    program: Program
    sparsity: float
    layers: tuple[SwitchedLayer, ...]

    def masks(self, strengths: Sequence[Tensor], share: float) -> list[Tensor]:
        """Return masks under which the weakest factors are off, as an ``Aim`` does."""
        sparsity = share * self.sparsity
        values = []
        for picture in strengths:
            flat = picture.flatten()
            spared = flat.topk(ceil(_SPARED * (1 - sparsity) * len(flat))).indices
            values.append(flat.index_fill(0, spared, torch.inf))
        order = torch.cat(values).argsort(stable=True).cpu()
        sizes = [picture.shape for picture in strengths]
        if self.layers[0].mode == "connection":
            return _without(order, ceil(round(sparsity * len(order), 6)), sizes)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self._zeros(_without(order, middle, sizes)) >= sparsity:
                high = middle
            else:
                low = middle + 1
        return _without(order, low, sizes)

    def _zeros(self, masks: Sequence[Tensor]) -> float:
        living = {
            layer.weight: np.broadcast_to(layer.fit(mask).numpy(), layer.shape)
            for layer, mask in zip(self.layers, masks, strict=True)
        }
        _, left = follow_unread(self.program, self.layers, living)
        count = sum(int(mask.sum()) for mask in left.values())
        return 1 - count / sum(mask.size for mask in left.values())


def _without(order: Tensor, count: int, sizes: Sequence[torch.Size]) -> list[Tensor]:
    """Return masks of these sizes without the first ``count`` places of an order."""
    stays = torch.ones(len(order), dtype=torch.bool)
    stays[order[:count]] = False
    parts = stays.split([size.numel() for size in sizes])  # type: ignore[no-untyped-call]
    return [part.view(size) for part, size in zip(parts, sizes, strict=True)]
