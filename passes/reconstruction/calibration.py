"""Calibration: accuracy back without training and without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, fx

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.contract.registry import find_pass, registered_passes
from compressc.coupling.graph import couple
from compressc.errors import GoalError, PlanError
from compressc.graphs.trainable import clone_module
from compressc.operators import argument_of
from compressc.passes.reconstruction.batch_norm_statistics import follow
from compressc.passes.reconstruction.layer_fit import reconstruct
from compressc.passes.reconstruction.layers import Layer, find_layers
from compressc.passes.reconstruction.norms import Norm, read_norm
from compressc.passes.reconstruction.patches import LAYERS
from compressc.passes.reconstruction.refinement import RefinementSettings, refine_blocks
from compressc.passes.reconstruction.staged_execution import (
    Batches,
    StagedExecution,
    order_nodes,
    peak_values_per_sample,
)
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.proof.masking import masked
from compressc.tasks.protocol import draw_samples, require_task

aten = torch.ops.aten


@dataclass(frozen=True)
class Calibration(Pass):
    """Give the surviving weights of a pruned network new values, from unlabelled samples.

    Layers are taken in graph order. Each gets the weights with which, on what the repaired network
    in front of it computes, it best reproduces what it computed in the original network: ridge
    regression in closed form. The last layer of a residual branch aims at the original sum minus
    the shortcut as it is now, and so also makes up for errors made in front of the block; in front
    of blocks that are left out it aims at what these made of it. Weights that a plan sets to zero
    stay zero, and a factorised layer gets the best weights of its ranks. Batch norms behind no such
    layer have their statistics moved along.

    Attributes:
        samples: how many unlabelled samples of the training split are used.
        reconstruct: whether weights change; otherwise only batch norm statistics do.
        residual: whether branches make up for errors of their shortcuts.
        ridge: pull towards the original weights, as a share of the mean square of a feature.
        memory_bytes: for activations; fewer samples are used where they would need more.
        refinement: gradient steps on one block after the other, behind the closed form.

    Source:
        He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017 (least
        squares, residual targets).

    Deviations:
        The ridge pulls towards the original weights instead of zero; inputs are those of the
        repaired network; an intercept is fitted and put into the bias or the batch norm. Zeros and
        ranks are ours: see ``constrained_fit``.

    Raises:
        GoalError: if a number is out of range.
    """

    samples: int = 512
    reconstruct: bool = True
    residual: bool = True
    ridge: float = 1e-3
    memory_bytes: int = 4 * 2**30
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    name: ClassVar[str] = "calibrate"
    declares: ClassVar[Declaration] = Declaration(
        needs="samples", changes=frozenset({"weights", "graph"})
    )

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise GoalError(f"samples {self.samples}: at least 1 is needed")
        if self.ridge < 0:
            raise GoalError(f"ridge {self.ridge:g}: must be 0 or more")

    def rehearsal(self) -> Pass:
        """Return a pass that leaves the counts as they are, which this one does."""
        return _Unchanged()

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with new weights and the same plan.

        Unless a pass has trained the program, the network to reproduce is ``context.original``,
        with the weights and the statistics that it came with.

        Raises:
            PlanError: if no pass decided anything before, so that there is nothing to repair.
            DataError: if there is no task.
        """
        task = require_task(context.task, self.name)
        plan = program.plan
        if not plan and _is_whole(program, context.original):
            line = HistoryLine(self.name, notes=("nothing was removed, so nothing was repaired",))
            return program.with_line(line)
        if not plan:
            raise PlanError(
                f"{self.name} repairs what pruning broke, but nothing was removed; run a pass "
                "such as magnitude before it"
            )
        most = self._most_samples(program)
        samples = min(self.samples, most)
        batches = draw_samples(task, samples, context.goal.seed, self.name)
        trained = _as_trained(program, context.original)
        repaired = self._repair(trained, batches, context)
        notes = [f"repaired from {_count(batches)} unlabelled samples"]
        if most < self.samples:
            notes.append(
                f"{most} of {self.samples} samples are used: more would take over "
                f"{self.memory_bytes / 2**30:.1f} GB"
            )
        if self.reconstruct and self.refinement.refine_steps:
            samples = min(self.refinement.refine_samples, most)
            more = draw_samples(task, samples, context.goal.seed, self.name)
            repaired, said = self._refine(repaired, trained, more, context)
            notes.append(said)
        return repaired.with_line(HistoryLine(self.name, notes=tuple(notes)))

    def _refine(
        self, program: Program, trained: Program, batches: Batches, context: Context
    ) -> tuple[Program, str]:
        state = {name: tensor.clone() for name, tensor in program.state().items()}
        blocks = refine_blocks(
            program,
            trained.graph_module,
            batches,
            self.refinement,
            state,
            context.goal.seed,
            context.progress,
        )
        better = [block for block in blocks if block.after < block.before]
        said = f"{len(better)} of {len(blocks)} blocks refined on {_count(batches)} samples"
        if better:
            share = sum(block.after / block.before for block in better) / len(better)
            said += f", to {share:.0%} of their squared error on samples held back"
        return program.with_state(state), said

    def _most_samples(self, program: Program) -> int:
        """Return how many samples there is memory for."""
        nodes = list(program.graph_module.graph.nodes)
        # Two networks, and unfolded input beside them.
        per_sample = 2 * 4 * peak_values_per_sample(nodes)
        return max(1, self.memory_bytes // max(1, per_sample))

    def _repair(self, program: Program, batches: Batches, context: Context) -> Program:
        original = program.graph_module
        clone = replace(program, graph_module=clone_module(original))
        state = dict(clone.graph_module.state_dict())
        by_name = {node.name: node for node in original.graph.nodes}
        first, _ = self._find(program, order_nodes(original.graph, _is_layer))
        pupil_graph = masked(clone.with_plan(_without_fitted(program, first)))
        order = order_nodes(
            pupil_graph.graph, lambda node: node.name in by_name and _is_layer(node)
        )
        original_order = [by_name[node.name] for node in order if node.name in by_name]
        layers, norms = self._find(program, original_order)
        watched = [by_name[layer.target] for layer in layers.values()]
        watched += [argument_of(by_name[name], "input") for name in norms]
        repair = _Repair(
            layers,
            norms,
            state,
            by_name,
            {node.name: node for node in order},
            StagedExecution(original, original_order, batches, watched),
            StagedExecution(pupil_graph, order, batches),
            self.ridge,
        )
        for done, node in enumerate(order):
            context.progress(done, len(order), f"repairing {node.name}")
            repair.step(node)
        return program.with_state(state)

    def _find(
        self, program: Program, order: list[fx.Node]
    ) -> tuple[dict[str, Layer], dict[str, Norm]]:
        layers = find_layers(program, [node.name for node in order]) if self.reconstruct else {}
        if not self.residual:
            layers = {
                name: replace(layer, addition=None, shortcut=None) for name, layer in layers.items()
            }
        settled = {layer.norm.node for layer in layers.values() if layer.norm is not None}
        living = couple(program).branches.decide(program.plan.choice).living
        norms = {}
        for node in order:
            norm = read_norm(program, node)
            if norm is not None and node.name not in settled and node.name in living:
                norms[node.name] = norm
        return layers, norms


def _count(batches: Batches) -> int:
    return sum(len(batch[0]) for batch in batches)


def _is_whole(program: Program, original: Program | None) -> bool:
    """Return whether passes ran before and removed nothing, because the goal is met as it is."""
    if original is None or len(program.history) <= len(original.history):
        return False
    shapes = [{n: t.shape for n, t in each.state().items()} for each in (program, original)]
    return shapes[0] == shapes[1] and program.sparse_weights == original.sparse_weights


def _as_trained(program: Program, original: Program | None) -> Program:
    """Return the program with the original's tensors, unless a pass has trained it.

    A search may leave the statistics, and repaired weights, of the network it decided on, with
    which the whole network, the one to reproduce, computes nothing sensible.
    """
    if original is None:
        return program
    before, now = original.state(), program.state()
    if before.keys() != now.keys():
        return program
    if any(before[name].shape != tensor.shape for name, tensor in now.items()):
        return program
    weights = [name for name, _ in program.graph_module.named_parameters()]
    changed = any(not torch.equal(before[name], now[name]) for name in weights)
    if changed and not _was_repaired(program, original):
        return program
    return program.with_state(before)


def _was_repaired(program: Program, original: Program) -> bool:
    """Return whether new weights come from passes that decide, and from nothing that trains."""
    known = registered_passes()
    names = [line.name for line in program.history[len(original.history) :]]
    if not names or any(name not in known for name in names):
        return False
    declared = [find_pass(name).declares for name in names]
    decided = all(declares.runs_on == "planned" for declares in declared)
    return decided and any("weights" in declares.changes for declares in declared)


def _is_layer(node: fx.Node) -> bool:
    return node.target in LAYERS


def _without_fitted(program: Program, layers: Mapping[str, Layer]) -> Plan:
    """Return the plan without zeros and ranks of weights that are fitted in this very form."""
    plan, sites = program.plan, couple(program).factor_sites
    fitted = {layer.weight for layer in layers.values()}
    return replace(
        plan,
        zero={name: mask for name, mask in plan.zero.items() if name not in fitted},
        rank={name: r for name, r in plan.rank.items() if sites.site(name).weight not in fitted},
    )


@dataclass(frozen=True, eq=False)
class _Repair:
    """Both networks side by side, and what is repaired where, by node name."""

    layers: dict[str, Layer]
    norms: dict[str, Norm]
    state: dict[str, Tensor]
    original_nodes: dict[str, fx.Node]
    pupil_nodes: dict[str, fx.Node]
    original: StagedExecution
    pupil: StagedExecution
    ridge: float

    def step(self, node: fx.Node) -> None:
        """Repair one node of the pruned network, then run it."""
        layer, norm = self.layers.get(node.name), self.norms.get(node.name)
        if layer is not None:
            self._fit(layer, self.pupil.values(argument_of(node, "input")))
        if norm is not None:
            self._move(norm, self.pupil.values(argument_of(node, "input")))
        self.pupil.advance()

    def _fit(self, layer: Layer, inputs: list[Tensor]) -> None:
        target = self.original_nodes[layer.target]
        self.original.advance_past(target)
        shortcuts = None
        if layer.shortcut is not None:
            shortcuts = self.pupil.values(self.pupil_nodes[layer.shortcut])
        originals = self.original.values(target)
        reconstruct(layer, self.state, inputs, originals, shortcuts, self.ridge)
        self.original.release(target)

    def _move(self, norm: Norm, after: list[Tensor]) -> None:
        source = argument_of(self.original_nodes[norm.node], "input")
        self.original.advance_past(source)
        mean, variance = self.state[norm.mean], self.state[norm.variance]
        moved = follow(mean, variance, self.original.values(source), after)
        mean.copy_(moved[0])
        variance.copy_(moved[1])
        self.original.release(source)


@dataclass(frozen=True)
class _Unchanged(Pass):
    """Stands for the calibration while a channel step is sought: it decides no channel counts."""

    name: ClassVar[str] = "rehearsal"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset())

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program as it is."""
        del context
        return program
