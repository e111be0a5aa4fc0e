"""Fresh weights: a captured network as if it had never been trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressc.coupling.graph import couple
from compressc.errors import PlanError
from compressc.passes.training.randomness import seeded
from compressc.program import Program

aten = torch.ops.aten


def _draw(tensor: Tensor) -> None:
    nn.init.kaiming_normal_(tensor, nonlinearity="relu")


Role = Mapping[int, Callable[[Tensor], object]]

# What becomes of the arguments of operations that have weights, by position.
_MULTIPLYING: Role = {1: _draw, 2: nn.init.zeros_}
_NORM: Role = {1: nn.init.ones_, 2: nn.init.zeros_}
_STATISTICS: Role = {3: nn.init.zeros_, 4: nn.init.ones_}
_AFTER_SIZES: Role = {2: nn.init.ones_, 3: nn.init.zeros_}
_ROLES: dict[Any, Role] = {
    aten.linear.default: _MULTIPLYING,
    **dict.fromkeys(
        (
            aten.conv1d.default,
            aten.conv2d.default,
            aten.conv3d.default,
            aten.conv1d.padding,
            aten.conv2d.padding,
            aten.conv3d.padding,
        ),
        _MULTIPLYING,
    ),
    aten.batch_norm.default: {**_NORM, **_STATISTICS},
    aten.instance_norm.default: {**_NORM, **_STATISTICS},
    aten.layer_norm.default: _AFTER_SIZES,
    aten.group_norm.default: _AFTER_SIZES,
}


def draw_fresh_weights(program: Program, seed: int) -> Program:
    """Return the program with new weights: Kaiming normal for layers, norms as they begin.

    Layers are linear ones and convolutions (biases 0); norms have scale 1 and shift 0, running
    statistics of mean 0 and variance 1. Zeros that are decisions stay.

    Args:
        program: stays as it is.
        seed: of the draw.

    Raises:
        PlanError: if it has a parameter that something else reads, which nobody says how to begin.

    Source:
        He et al., Delving Deep into Rectifiers, ICCV 2015 (fan-in form).
    """
    canonical = couple(program).propagation.canonical
    state = {name: tensor.detach().clone() for name, tensor in program.state().items()}
    done: set[str] = set()
    with torch.no_grad(), seeded(torch.device("cpu"), seed):
        for node in program.graph_module.graph.nodes:
            for position, source in enumerate(node.args):
                role = _ROLES.get(node.target, {}).get(position)
                if role is None or not isinstance(source, fx.Node) or source.op != "get_attr":
                    continue
                name = canonical.get(str(source.target), str(source.target))
                if name not in done:
                    role(state[name])
                    done.add(name)
    for name in program.sparse_weights:
        state[name].mul_(program.state()[name] != 0)
    for name in state:
        first = canonical.get(name, name)
        if first in done:
            state[name] = state[first]
        elif couple(program).propagation.is_parameter(name):
            raise PlanError(
                f"{name} is read by no layer or norm that has a usual beginning, so it cannot be "
                "drawn anew; begin with the trained weights"
            )
    return program.with_state(state)
