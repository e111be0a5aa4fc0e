"""Two oracles for pruning, and what a lowered program must also be.

The first is the theorem ``lower(program, plan)(x) == masked(program, plan)(x)``. The second knows
nothing of masks: it takes the coupling at its word about the original weights, and looks which
outputs and values move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from compressc.channels.kept import Kept
from compressc.coupling.graph import Coupling, cost_of, couple
from compressc.graphs.trainable import clone_module
from compressc.lowering.lowered import lower
from compressc.plan import Plan
from compressc.program import Program
from compressc.proof.equivalence import compare_modules
from compressc.proof.masking import masked
from compressc.proof.randomization import randomized
from compressc.rules.propagation import named_tensors


def fresh(program: Program) -> Program:
    """Return the program with nothing derived from it yet, so that it is coupled anew."""
    return replace(program, _derived={})


def digest(program: Program) -> str:
    """Return a hash over a program's graph and weights."""
    sha = hashlib.sha256(str(program.graph_module.graph).encode())
    for name, tensor in named_tensors(program.graph_module).items():
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sha.update(tensor.detach().contiguous().cpu().numpy().tobytes())
    return sha.hexdigest()


def inputs_for(program: Program, batch: int, seed: int) -> tuple[Tensor, ...]:
    """Return float64 noise (or the example's integers); ``batch`` where the batch is dynamic."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    for example, axes in zip(program.example_inputs, program.dynamic_axes, strict=True):
        shape = list(example.shape)
        if 0 in axes:
            shape[0] = batch
        if example.is_floating_point():
            found.append(torch.randn(shape, generator=generator, dtype=torch.float64))
        elif example.dim() and 0 in axes:
            rows = torch.randint(len(example), (batch,), generator=generator)
            found.append(example[rows])
        else:
            found.append(example)
    return tuple(found)


def check_theorem(
    program: Program, plan: Plan, seed: int = 0, *, informative: bool = True
) -> Program:
    """Assert everything that must hold for one plan, and return the lowered random program.

    lowered == masked in float64 on random weights, at the example batch and another one; predicted
    costs are the costs of the lowered program coupled anew and of its tensors.

    Args:
        program: the program to prune, left as it is.
        plan: what to remove.
        seed: of weights and inputs.
        informative: whether the outputs must vary, so that an error would show; False for plans
            that leave too little (a layer norm over one channel is constant).
    """
    before = digest(program)
    chosen = program.with_plan(plan)
    # With few channels left random weights may make an output that nothing reaches: draw again.
    for attempt in range(8):
        drawn = randomized(chosen, seed + attempt)
        reference = masked(drawn)
        calibrate(reference, drawn.example_inputs)
        lowered = lower(drawn)
        verdicts = [
            compare_modules(reference, lowered.graph_module, inputs_for(program, batch, seed))
            for batch in (len(program.example_inputs[0]), 5)
        ]
        assert all(verdict.passed for verdict in verdicts), f"lowered is not masked: {verdicts}"
        if not informative or all(verdict.informative for verdict in verdicts):
            break
    else:
        raise AssertionError(f"the outputs hardly vary: {verdicts}")
    check_costs(chosen, lowered)
    assert digest(program) == before, "the input program was changed"
    return lowered


class _Calibrator(fx.Interpreter):
    """Gives each batch norm of a graph the statistics of what reaches it."""

    def run_node(self, n: fx.Node) -> object:
        if n.target is torch.ops.aten.batch_norm.default:
            x, _, _, mean, variance = (self.env.get(argument) for argument in n.args[:5])
            if mean is not None:
                dims = [dim for dim in range(x.dim()) if dim != 1]
                mean.copy_(x.mean(dims))
                variance.copy_(x.var(dims).clamp_min(1e-3))
        return super().run_node(n)


def calibrate(reference: fx.GraphModule, inputs: tuple[Tensor, ...]) -> None:
    """Calibrate batch norms to the masked network, whose weights the program shares.

    Norms that know only the full network push what is left of a sum out of every activation's
    range, and outputs stop saying anything.
    """
    with torch.no_grad():
        _Calibrator(reference).run(*(x.double() if x.is_floating_point() else x for x in inputs))


def check_costs(program: Program, lowered: Program) -> None:
    """Assert that the cost of (program, plan) is the cost of the lowered program."""
    predicted = cost_of(program)
    found = cost_of(fresh(lowered))
    assert predicted.macs == found.macs, f"macs: predicted {predicted.macs}, found {found.macs}"
    assert predicted.params == found.params, f"params: {predicted.params}, found {found.params}"
    tensors = {id(t): t for t in named_tensors(lowered.graph_module).values()}.values()
    assert predicted.params == sum(t.numel() for t in tensors if isinstance(t, nn.Parameter))


def original_state(program: Program, original: nn.Module) -> dict[str, Tensor]:
    """Return the original module's state with the program's values where both have one."""
    found = named_tensors(program.graph_module)
    return {name: found.get(name, value) for name, value in original.state_dict().items()}


@dataclass(frozen=True, eq=False)
class Removal:
    """Where the units that a plan removes live in the parameters."""

    tensor: str
    axis: int
    role: str
    positions: np.ndarray


def removals(coupling: Coupling, plan: Plan) -> Iterator[Removal]:
    """Yield the slices of every removed unit; constant indices hold no weights."""
    for name, mask in plan.keep.items():
        for member in coupling.group(name).members:
            if not coupling.propagation.tensors[member.tensor].is_floating_point():
                continue
            gone = member.position[~mask[member.unit]]
            if len(gone):
                yield Removal(member.tensor, member.axis, member.role, gone)


def silence(model: nn.Module, coupling: Coupling, plan: Plan) -> nn.Module:
    """Zero, in the original module, the slices with which consumers read removed units."""
    grouped = {w.tensor: w for w in coupling.propagation.records.grouped_weights}
    tensors = named_tensors(model)
    with torch.no_grad():
        for removal in removals(coupling, plan):
            tensor = tensors[removal.tensor]
            weight = grouped.get(removal.tensor)
            if removal.role != "in":
                continue
            if weight is not None and removal.axis == weight.column_axis:
                width = tensor.shape[weight.column_axis]
                height = tensor.shape[weight.row_axis] // weight.conv_groups
                for position in removal.positions:
                    block, column = divmod(int(position), width)
                    tensor[block * height : (block + 1) * height, column] = 0.0
            else:
                tensor.index_fill_(removal.axis, torch.as_tensor(removal.positions), 0.0)
    return model


def disturb(model: nn.Module, coupling: Coupling, plan: Plan, seed: int = 0) -> nn.Module:
    """Replace, in the original module, the slices that produce removed units by noise."""
    generator = torch.Generator().manual_seed(seed)
    tensors = named_tensors(model)
    with torch.no_grad():
        for removal in removals(coupling, plan):
            if removal.role == "in":
                continue
            tensor = tensors[removal.tensor]
            index = torch.as_tensor(removal.positions)
            part = tensor.index_select(removal.axis, index)
            noise = torch.rand(part.shape, generator=generator, dtype=part.dtype) + 0.5
            tensor.index_copy_(removal.axis, index, noise)
    return model


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, object] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        # In-place operations of later nodes must not change what was recorded.
        self.values[n.name] = pytree.tree_map_only(Tensor, torch.Tensor.clone, value)
        return value


def values_of(module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> dict[str, object]:
    """Return every node's value."""
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(*inputs)
    return recorder.values


def strays(program: Program, plan: Plan, seed: int = 0) -> list[str]:
    """Return the nodes at which kept channels move when removed units are disturbed.

    The consumers' slices of removed units are zero, so nothing but the removed positions of values
    and parameters may move, and no output at all. Only for graphs without statistics over channels
    and without products of two activations.
    """
    drawn = randomized(fresh(program), seed)
    coupling, inputs = couple(drawn), inputs_for(program, 3, seed)
    base = clone_module(drawn.graph_module)
    silence(base, coupling, plan)
    other = disturb(clone_module(base), coupling, plan, seed)
    assert isinstance(other, fx.GraphModule)
    kept = coupling.view(plan)
    left, right = values_of(base, inputs), values_of(other, inputs)
    found: list[str] = []
    for name, value in left.items():
        axes = coupling.propagation.values.get(name)
        if isinstance(value, Tensor) and isinstance(axes, tuple) and value.is_floating_point():
            second = right[name]
            assert isinstance(second, Tensor)
            if not torch.allclose(_kept(value, axes, kept), _kept(second, axes, kept)):
                found.append(name)
    return found


def _kept(value: Tensor, axes: tuple[object, ...], kept: Kept) -> Tensor:
    for axis, channels in enumerate(axes):
        if not kept.whole(channels):  # type: ignore[arg-type]
            index = torch.as_tensor(np.flatnonzero(kept.mask(channels)))  # type: ignore[arg-type]
            value = value.index_select(axis, index)
    return value
