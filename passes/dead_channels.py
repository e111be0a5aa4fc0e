"""Dead channels: removing what carries the same value whatever the input is, or is not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressc.array_types import BoolArray
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.coupling.graph import couple
from compressc.lowering.constants import absorb_constants, find_dead
from compressc.passes.widths.ladders import sparing_mask
from compressc.program import HistoryLine, Program


@dataclass(frozen=True)
class DeadChannels(Pass):
    """Remove every channel whose value never changes or is never read; the outputs stay the same.

    A channel is dead where its weights, or the scale of its batch norm, are zero. What it still
    carries (the shift of the batch norm, after the activation) goes into the biases of the layers
    that read it. Where it cannot, as in front of a convolution that pads its input, the channel
    stays. Training with a penalty on batch-norm scales (Liu et al., Network Slimming, ICCV 2017)
    leaves such channels, and so do plain weight decay and ReLU. A channel is dead, too, where all
    that reads it multiplies it by zeros, as many zeros in weights leave it.

    Needs no goal: how much goes is a matter of the weights alone.
    """

    name: ClassVar[str] = "dead"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep", "weights", "graph"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan and biases that hold the constants."""
        context.progress(0, 0, "looking for channels that never change")
        dead = find_dead(program)
        keep: dict[str, BoolArray] = {}
        left = 0
        for group in couple(program).groups:
            # What an earlier pass decided stays: it may balance partitions in its own way.
            if group.name in dead and group.name not in program.plan.keep:
                living = ~dead[group.name]
                mask = sparing_mask(group, living.astype(np.float64), living)
                left += int((mask & dead[group.name]).sum())
                if not mask.all():
                    keep[group.name] = mask
        gone = sum(int((~mask).sum()) for mask in keep.values())
        notes = [f"{gone} dead channels removed, the outputs stay the same"]
        if left:
            notes.append(
                f"{left} dead channels stay: counts step by a multiple (--multiple-of 1 for none) "
                "or are equal over conv groups"
            )
        planned = program.with_plan(couple(program).fit_ranks(program.plan.with_keep(keep)))
        return absorb_constants(planned).program.with_line(
            HistoryLine(self.name, notes=tuple(notes))
        )
