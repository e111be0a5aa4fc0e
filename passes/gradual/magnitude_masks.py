"""The pruner: masks over the weights of a network in training, which follow their magnitudes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx

from compressc.passes.gates.weight_gates import GatedWeights
from compressc.passes.gradual.silent_filters import find_norms, list_speaking


class MagnitudeMasks:
    """Binary masks on weights, one threshold per layer.

    A masked weight takes no part in what the network computes and gets no gradient; it keeps its
    value, so that it can come back when the weights around it have become smaller. No layer loses
    every weight: ``floor`` of them stay. A filter that has lost all of its own is silenced behind
    its batch norm as well.

    Args:
        module: the network, whose graph is changed in place; its state dict stays as it is.
        names: the weights, by name.
        floor: so many weights of a layer stay at least, or all that it has.
        decided: per weight where it may be anything but zero, as earlier decisions have it.

    Source:
        Zhu and Gupta, To prune, or not to prune, 2017, section 3.

    Deviations:
        Weight decay and momentum go on for masked weights; they only move towards zero by it.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        names: Iterable[str],
        floor: int,
        decided: Mapping[str, Tensor] | None = None,
    ) -> None:
        parameters = dict(module.named_parameters())
        self._weights = {name: parameters[name] for name in names}
        self._floor = floor
        self._decided = dict(decided or {})
        norms = find_norms(module)
        self._norms = {name: norms[name] for name in self._weights if name in norms}
        affine = (parameter for each in self._norms.values() for parameter in each)
        self._gates = GatedWeights(module, (*self._weights, *affine))
        self.masks = {
            name: torch.ones_like(weight, dtype=torch.bool)
            for name, weight in self._weights.items()
        }
        self.prune(0.0)

    def prune(self, sparsity: float, *, weights: Mapping[str, Tensor] | None = None) -> None:
        """Mask the smallest weights of every layer.

        Args:
            sparsity: share of zeros in every layer, from 0 to below 1.
            weights: other values for some weights, by which their masks are chosen.
        """
        others = weights or {}
        with torch.no_grad():
            self.restore(
                {
                    name: mask_smallest(
                        others.get(name, weight), sparsity, self._floor, self._decided.get(name)
                    )
                    for name, weight in self._weights.items()
                }
            )

    def restore(self, masks: Mapping[str, Tensor]) -> None:
        """Take masks as they are, such as those of an earlier run."""
        self.masks = {name: masks[name].to(weight.device) for name, weight in self._weights.items()}
        self._gates.set_factors(
            {
                name: self.masks[name].to(weight.dtype, memory_format=torch.preserve_format)
                for name, weight in self._weights.items()
            }
        )
        speaking = list_speaking(self._norms, self.masks)
        self._gates.set_factors({name: stays.float() for name, stays in speaking.items()})

    def apply(self, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict in which masked weights are zero, and silent filters silent."""
        stays = {**list_speaking(self._norms, masks), **masks}
        return {
            name: tensor * stays[name].to(tensor.device) if name in stays else tensor
            for name, tensor in state.items()
        }

    @property
    def sparsity(self) -> float:
        """The share of zeros in all the weights together."""
        total = sum(mask.numel() for mask in self.masks.values())
        return 1 - sum(int(mask.sum()) for mask in self.masks.values()) / max(1, total)

    def floored(self, sparsity: float) -> tuple[str, ...]:
        """Return the weights of which more stay than a sparsity asks for."""
        return tuple(
            name
            for name, weight in self._weights.items()
            if count_kept(weight.numel(), sparsity, self._floor)
            > count_kept(weight.numel(), sparsity, 0)
        )


def mask_smallest(
    weight: Tensor, sparsity: float, floor: int, decided: Tensor | None = None
) -> Tensor:
    """Return a mask, True for the largest magnitudes; of equal ones the choice is torch's.

    Args:
        weight: any shape.
        sparsity: share that is masked.
        floor: so many stay at least.
        decided: False where a weight is zero already.
    """
    magnitudes = weight.detach().abs().flatten()
    if decided is not None:
        magnitudes = magnitudes.masked_fill(~decided.flatten(), -1.0)
    kept = count_kept(len(magnitudes), sparsity, floor)
    mask = torch.zeros_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.topk(kept, sorted=False).indices] = True
    mask = mask.view(weight.shape)
    return mask if decided is None else mask & decided


def count_kept(size: int, sparsity: float, floor: int) -> int:
    """Return how many of a layer's weights stay."""
    return min(size, max(floor, size - round(sparsity * size)))
