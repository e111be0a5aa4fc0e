"""Refinement: gradient steps on one block after the other, behind the closed form."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from compressc.clock import ProgressCallback
from compressc.coupling.graph import cost_of, couple
from compressc.errors import GoalError
from compressc.passes.reconstruction.blocks import Block, extract_block, find_blocks, trace_block
from compressc.passes.reconstruction.small_network import SmallNetwork, cut_small
from compressc.passes.reconstruction.staged_execution import Batches
from compressc.passes.reconstruction.succession import find_successors
from compressc.program import Program
from compressc.tasks.unlabeled import batched_inputs, bound_batch, take_rows

# Of the batches, one in so many judges whether the steps did any good.
_HELD_BACK = 8
# Convolutions and linear layers in a block, unless it cannot be cut.
_LAYERS = 2
# So often a sample is used at most: more teaches a block these samples instead of its work.
_MOST_PASSES = 14
_TINY = 1e-12


@dataclass(frozen=True)
class RefinementSettings:
    """How blocks are refined.

    Attributes:
        refine_steps: of Adam for each block, fewer where there are few samples; 0 for the closed
            form alone.
        refine_rate: its learning rate at the start; it falls to 0 along a cosine.
        refine_samples: unlabelled samples that the steps are made on; the closed form needs fewer.
        refine_batch: samples in each step.
        refine_macs: that all steps together may take, about a minute of a core for each 1e12;
            fewer steps are made where they would take more.
        refine_seconds: that they may take on this machine; None for any time. What a clock cuts
            short does not come out the same again.

    Raises:
        GoalError: if a number is out of range.
    """

    refine_steps: int = 500
    refine_rate: float = 3e-3
    refine_samples: int = 2048
    refine_batch: int = 32
    refine_macs: float = 5e12
    refine_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.refine_steps < 0:
            raise GoalError(f"refine_steps {self.refine_steps}: must be 0 or more")
        for what in (
            "refine_rate",
            "refine_samples",
            "refine_batch",
            "refine_macs",
            "refine_seconds",
        ):
            value = getattr(self, what)
            if value is not None and not value > 0:
                raise GoalError(f"{what} {value:g}: must be above 0")

    def affordable_steps(self, macs: int) -> int:
        """Return how many steps are made on a network of so many MACs per sample."""
        # A backward pass is two forward passes.
        per_step = 3 * macs * self.refine_batch
        return min(self.refine_steps, int(self.refine_macs / max(1, per_step)))


@dataclass(frozen=True)
class RefinedBlock:
    """What became of a block: its relative squared error on batches that taught it nothing."""

    before: float
    after: float


def refine_blocks(
    program: Program,
    teacher: fx.GraphModule,
    batches: Batches,
    settings: RefinementSettings,
    state: dict[str, Tensor],
    seed: int,
    progress: ProgressCallback,
) -> list[RefinedBlock]:
    """Change the weights of a pruned network so that each block computes what the original's did.

    Each block reads what the refined blocks in front of it compute, and aims at what the block of
    the original makes of the original's values. Batch norms keep their statistics; their scales
    and shifts are weights like all others. Zeros stay zero, and factorised layers as they are. A
    block whose error on held-back batches did not fall gets its old weights back. A block in front
    of residual blocks that are left out aims at what the original has behind these.

    Args:
        program: with a pending plan, and the weights to begin with.
        teacher: the original, over the same graph.
        batches: unlabelled samples.
        settings: how many steps.
        state: tensors of the program by name; changed in place.
        seed: of the order of the batches.
        progress: called with (done, total, text).

    Source:
        Li et al., BRECQ, ICLR 2021, for quantisation.

    Deviations:
        Plain squared errors instead of ones weighted by Fisher information.
    """
    small = cut_small(program)
    trained = _Trainer(program, small, settings, seed)
    blocks = find_blocks(small.module.graph, _LAYERS)
    pupil_values: Sequence[Any] = _cut_batches(program, batches, settings.refine_batch)
    teacher_values: Sequence[Any] = pupil_values
    counterparts = _find_counterparts(program)
    outcome = []
    started = time.monotonic()
    for done, block in enumerate(blocks):
        # What a block leaves of its time, those behind it get.
        share = (done + 1) / len(blocks)
        until = math.inf
        if settings.refine_seconds is not None:
            until = started + share * settings.refine_seconds
        progress(done, len(blocks), f"refining block {done + 1} of {len(blocks)}")
        taught = _teaching_block(teacher, block, counterparts)
        aims = _run(extract_block(teacher, taught), teacher_values)
        module = extract_block(small.module, block)
        kept = [trained.keep(taught, aim) for aim in aims]
        outcome.append(trained.fit(module, pupil_values, kept, until))
        if block.end is not None:
            pupil_values = [(value,) for value in _run(module, pupil_values)]
            teacher_values = [(value,) for value in aims]
    small.write_into(state)
    return outcome


def _find_counterparts(program: Program) -> dict[str, str]:
    """Return what the original has where residual blocks left, by the node that is left there."""
    graph, branches = program.graph_module.graph, couple(program).branches
    successors = find_successors(graph, branches, program.plan.choice)
    return {successor.skip: successor.target for successor in successors}


def _teaching_block(
    teacher: fx.GraphModule, block: Block, counterparts: Mapping[str, str]
) -> Block:
    """Return the part of the original that does what a block of the small network is to do."""
    if not counterparts:
        return block
    entries = tuple(counterparts.get(entry, entry) for entry in block.entries)
    end = None if block.end is None else counterparts.get(block.end, block.end)
    return trace_block(teacher.graph, entries, end)


class _Trainer:
    """Fits blocks of one small network."""

    def __init__(
        self, program: Program, small: SmallNetwork, settings: RefinementSettings, seed: int
    ) -> None:
        self._program, self._small = program, small
        self._rate = settings.refine_rate
        self._steps = settings.affordable_steps(cost_of(program).macs)
        self._generator = torch.Generator().manual_seed(seed)
        self._kept = couple(program).view(program.plan)
        self._fixed = _fixed_weights(program)

    def keep(self, block: Block, value: Any) -> Any:
        """Return what is left of a value of the original at the end of a block."""
        if block.end is None:
            return value
        axes = couple(self._program).propagation.values[block.end]
        for place, axis in enumerate(axes if isinstance(axes, tuple) else ()):
            if not self._kept.whole(axis):
                index = torch.as_tensor(np.flatnonzero(self._kept.mask(axis)))
                value = value.index_select(place, index)
        return value

    def fit(
        self, module: fx.GraphModule, inputs: Sequence[Any], aims: Sequence[Any], until: float
    ) -> RefinedBlock:
        """Train the weights of a block, in place, not beyond a time of :func:`time.monotonic`."""
        weights = {
            name: parameter
            for name, parameter in module.named_parameters()
            if name not in self._fixed and parameter.is_floating_point()
        }
        held = max(1, len(inputs) // _HELD_BACK) if len(inputs) > 1 else 0
        taught = len(inputs) - held
        judged = list(zip(inputs[taught:], aims[taught:], strict=True))
        spread = _spread(aims)
        if not (weights and judged and spread):
            # Nothing to change, to judge by, or to aim at: outputs may be chosen indices.
            return RefinedBlock(0.0, 0.0)
        before = _mean_loss(module, judged, spread)
        old = {name: weight.detach().clone() for name, weight in weights.items()}
        for weight in weights.values():
            weight.requires_grad_(True)
        optimizer = torch.optim.Adam(weights.values(), lr=self._rate)
        done, began = 0, time.monotonic()
        steps = min(self._steps, _MOST_PASSES * taught)
        while done < steps:
            for place in torch.randperm(taught, generator=self._generator).tolist():
                if done >= steps:
                    break
                now = time.monotonic()
                if done and now + (now - began) / done > until:
                    steps = done
                    break
                share = done / steps
                for group in optimizer.param_groups:
                    group["lr"] = self._rate * 0.5 * (1 + math.cos(math.pi * share))
                optimizer.zero_grad(set_to_none=True)
                loss = _loss(module(*_own(inputs[place])), aims[place], spread)
                torch.autograd.backward(loss)
                optimizer.step()
                self._restore_zeros(weights)
                done += 1
        for weight in weights.values():
            weight.requires_grad_(False)
        after = _mean_loss(module, judged, spread)
        if not after < before:
            for name, weight in weights.items():
                weight.copy_(old[name])
        return RefinedBlock(before, after)

    def _restore_zeros(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in weights.items():
                if name in self._small.alive:
                    weight.mul_(self._small.alive[name])


def _cut_batches(program: Program, batches: Batches, size: int) -> list[tuple[Tensor, ...]]:
    """Return batches of at most so many samples; a network bound to a batch gets no other."""
    if bound_batch(program) is not None:
        return list(batches)
    batched = batched_inputs(program)
    return [
        take_rows(batch, batched, rows)
        for batch in batches
        for rows in _split(len(batch[batched.index(True)]), size)
    ]


def _split(count: int, size: int) -> list[Tensor]:
    return [torch.arange(start, min(start + size, count)) for start in range(0, count, size)]


def _fixed_weights(program: Program) -> set[str]:
    """Return the weights that no single block owns, and those of factorised layers."""
    coupling = couple(program)
    fixed = {coupling.factor_sites.site(name).weight for name in program.plan.rank}
    for node in program.graph_module.graph.nodes:
        if node.op == "get_attr" and len(node.users) > 1:
            fixed.add(str(node.target))
    canonical = coupling.propagation.canonical
    first = list(canonical.values())
    fixed |= {name for name in canonical if first.count(canonical[name]) > 1}
    return fixed


def _run(module: fx.GraphModule, inputs: Sequence[Any]) -> list[Any]:
    with torch.no_grad():
        return [module(*_own(batch)) for batch in inputs]


def _own(batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return copies: a block may change what it reads in place."""
    return tuple(tensor.clone() for tensor in batch)


def _spread(aims: Sequence[Any]) -> list[float]:
    """Return the mean square of each float output over all batches, about the batch's mean."""
    leaves = [_floats(aim) for aim in aims]
    return [
        max(_TINY, sum(float((x - x.mean(0)).square().mean()) for x in column) / len(column))
        for column in zip(*leaves, strict=True)
    ]


def _floats(value: Any) -> list[Tensor]:
    leaves = (x for x in pytree.tree_leaves(value) if isinstance(x, Tensor))
    return [x for x in leaves if x.is_floating_point()]


def _loss(value: Any, aim: Any, spread: Sequence[float]) -> Tensor:
    """Return the mean over outputs of squared errors beside the spread of the aims."""
    pairs = zip(_floats(value), _floats(aim), spread, strict=True)
    return torch.stack([F.mse_loss(x, y) / scale for x, y, scale in pairs]).mean()


def _mean_loss(
    module: fx.GraphModule, judged: Sequence[tuple[Any, Any]], spread: Sequence[float]
) -> float:
    with torch.no_grad():
        losses = [float(_loss(module(*_own(x)), aim, spread)) for x, aim in judged]
    return sum(losses) / len(losses)
