"""Moment repair: candidates of a search repaired without data, from what was measured once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from compressc.channels.shapes import hinted_shape
from compressc.clock import ProgressCallback
from compressc.coupling.graph import Coupling, couple
from compressc.operators import argument_of
from compressc.passes.reconstruction.input_moments import measure_moments
from compressc.passes.reconstruction.layer_fit import reconstruct_from_moments
from compressc.passes.reconstruction.layers import Layer, cut_layers, find_layers
from compressc.passes.reconstruction.least_squares import Moments
from compressc.passes.reconstruction.patches import LAYERS
from compressc.passes.reconstruction.staged_execution import (
    Batches,
    StagedExecution,
    order_nodes,
)
from compressc.plan import Plan
from compressc.program import Program
from compressc.store.identity import identify

# Layers of more features stay as they are cut: the covariance of so many takes 0.4 GB in float32.
_MOST_FEATURES = 10_000


@dataclass(frozen=True, eq=False)
class MomentRepair:
    """Repairs the layers of a candidate by least squares, a solve for each layer that lost inputs.

    Every layer gets the weights with which it best computes what it did, from the inputs that are
    left, as these were in the original network. Errors of the layers in front are not known here;
    ``calibrate`` makes up for them, too, and takes a pass over the data for it.

    Attributes:
        layers: of the original, by node name.
        moments: of what each of them reads there, float32, by node name.
        ridge: pull towards the original weights, as a share of the mean square of a feature.
        identity: digest of the samples and the ridge.
    """

    layers: Mapping[str, Layer]
    moments: Mapping[str, Moments]
    ridge: float
    identity: str

    def mend(
        self, state: Mapping[str, Tensor], coupling: Coupling, plan: Plan
    ) -> dict[str, Tensor]:
        """Return the tensors of the original that are to change before a plan is applied.

        Args:
            state: parameters and buffers of the original.
            coupling: of the original.
            plan: fits the coupling.
        """
        mended: dict[str, Tensor] = {}
        for layer in cut_layers(self.layers.values(), coupling, plan):
            if layer.inputs.all() and layer.alive is None and not layer.ranks:
                continue
            constant = layer.bias or (layer.norm.mean if layer.norm else None)
            changed = {
                name: state[name].detach().clone() for name in (layer.weight, constant) if name
            }
            reconstruct_from_moments(
                layer, {**state, **changed}, self.moments[layer.node], self.ridge
            )
            mended.update(changed)
        return mended

    def repaired(self, program: Program) -> Program:
        """Return the program with the weights with which its pending plan was judged."""
        state = program.state()
        mended = self.mend(state, couple(program), program.plan)
        return program.with_state({**state, **mended})


def measure_moment_repair(
    program: Program, batches: Batches, ridge: float, progress: ProgressCallback
) -> MomentRepair:
    """Return what repairs candidates of a program, measured in one pass over unlabelled samples.

    Args:
        program: the original; a pending plan is ignored.
        batches: unlabelled samples.
        ridge: see :class:`MomentRepair`.
        progress: called with (done, total, text).
    """
    whole = replace(program, plan=Plan())
    order = order_nodes(program.graph_module.graph, lambda node: node.target in LAYERS)
    tensors = couple(program).propagation.tensors
    layers = {
        name: layer
        for name, layer in find_layers(whole, [node.name for node in order]).items()
        if tensors[layer.weight][0].numel() <= _MOST_FEATURES
    }
    # Residual targets need data; here every layer aims at what it computed itself.
    layers = {name: replace(layer, addition=None, shortcut=None) for name, layer in layers.items()}
    run = StagedExecution(program.graph_module, order, batches)
    moments = {}
    for done, node in enumerate(order):
        layer = layers.get(node.name)
        if layer is not None:
            progress(done, len(order), f"measuring what {node.name} reads")
            inputs = run.values(argument_of(node, "input"))
            measured = measure_moments(
                layer, tensors[layer.weight], inputs, hinted_shape(node.meta["val"])
            )
            moments[node.name] = Moments(
                measured.mean.float().cpu(), measured.covariance.float().cpu()
            )
        run.advance()
    return MomentRepair(layers, moments, ridge, identify("moment repair", list(batches), ridge))
