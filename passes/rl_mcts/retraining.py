"""Retraining: the slimmed network is fine-tuned between segments, inside the original graph."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressc.array_types import BoolArray, FloatArray
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.graphs.trainable import share_module
from compressc.lowering.lowered import lower
from compressc.lowering.slicing import slice_tensors
from compressc.passes.rl_mcts.prunable_units import PrunableUnits
from compressc.passes.training.objectives import TaskLoss
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.trainer import train
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.propagation import named_tensors


def retrain(program: Program, plan: Plan, epochs: int, context: Context, name: str) -> Program:
    """Return the program with weights that were trained in the network a plan describes.

    The network is lowered and trained as ``finetune`` does, and what it learned is written back to
    where it came from; weights of units that left become zero.

    Args:
        program: the whole network; a pending plan is ignored.
        plan: what is left.
        epochs: of training.
        context: task, seed and work directory.
        name: the pass, for errors.

    Raises:
        DataError: if there is no training data.
    """
    small = lower(program.with_plan(plan))
    trained = train(
        small,
        TrainingSettings(epochs=epochs),
        context,
        name=name,
        make_objective=lambda task, _device, _precision: TaskLoss(task),
    )
    return program.with_state(write_back(program, plan, trained.state()))


def write_back(program: Program, plan: Plan, small: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the program's state with the values of a lowered one in their places, else zeros.

    The whole network computes what the lowered one does, so that passes which take it for the
    original, such as ``calibrate``, aim at what was learned.

    Args:
        program: the whole network.
        plan: with which the other was lowered.
        small: state of the lowered program.
    """
    state = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in program.state().items()
    }
    # Tensors of places are sliced as the weights were: what is left tells where it comes from.
    places = share_module(program.graph_module)
    for name, tensor in named_tensors(places).items():
        owner, _, leaf = name.rpartition(".")
        numbers = torch.arange(tensor.numel()).reshape(tensor.shape)
        setattr(places.get_submodule(owner), leaf, _like(tensor, numbers))
    coupling = couple(program)
    slice_tensors(places, coupling, coupling.view(plan))
    sliced = named_tensors(places)
    learning = {name for name, _ in program.graph_module.named_parameters(remove_duplicate=False)}
    for name, tensor in small.items():
        if name in state:
            if name in learning:
                # The whole network then computes what the small one does.
                state[name].zero_()
            state[name].view(-1)[sliced[name].reshape(-1)] = tensor.reshape(-1).to(state[name])
    return state


def spread_features(
    units: PrunableUnits,
    kept: BoolArray,
    measured: Mapping[str, FloatArray],
    before: Mapping[str, FloatArray],
) -> dict[str, FloatArray]:
    """Return a feature of all units, measured anew for those that are left.

    Args:
        units: of the whole network.
        kept: which are left, shape (units,).
        measured: of the lowered network, by group name.
        before: of the whole network, by group name: units that left keep it, and so do groups that
            a lowered network does not have as such, such as one whose channels are one by now.
    """
    values = {}
    for name, mask in units.masks(kept).items():
        values[name] = before[name].copy()
        new = measured.get(name)
        if new is not None and len(new) == int(mask.sum()):
            values[name][mask] = new
    return values


def _like(tensor: Tensor, numbers: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(numbers, requires_grad=False)
    return numbers
