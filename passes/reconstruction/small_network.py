"""Small network: a program as its plan leaves it, whose weights can be put back in their places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressc.coupling.graph import couple
from compressc.graphs.trainable import clone_module
from compressc.lowering.plan_application import apply_plan
from compressc.lowering.slicing import slice_tensors
from compressc.program import Program
from compressc.search.skeleton import strip_program


@dataclass(frozen=True, eq=False)
class SmallNetwork:
    """What a pending plan leaves, with weights of its own. Factorised layers stay whole.

    Attributes:
        module: node names are those of the program's graph.
        places: where each element of a parameter stands in the program's, flat, by name.
        alive: which elements of a parameter may differ from zero, by name, where not all may.
    """

    module: fx.GraphModule
    places: dict[str, Tensor]
    alive: dict[str, Tensor]

    def write_into(self, state: dict[str, Tensor]) -> None:
        """Put the weights into the tensors of the program, in place."""
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            flat = state[name].view(-1)
            flat[self.places[name].reshape(-1)] = parameter.detach().reshape(-1)


def cut_small(program: Program) -> SmallNetwork:
    """Return the network that a program's plan leaves.

    Raises:
        PlanError: if the plan does not fit.
    """
    coupling, plan = couple(program), program.plan
    module = clone_module(strip_program(program))
    apply_plan(module, coupling, plan, put_factors=lambda *_: None)
    numbered = clone_module(strip_program(program))
    for name, parameter in list(numbered.named_parameters(remove_duplicate=False)):
        owner, _, leaf = name.rpartition(".")
        # Small integers are exact in float64; parameters cannot hold others.
        numbers = torch.arange(parameter.numel(), dtype=torch.float64).reshape(parameter.shape)
        setattr(numbered.get_submodule(owner), leaf, nn.Parameter(numbers, requires_grad=False))
    slice_tensors(numbered, coupling, coupling.view(plan))
    places = {
        name: parameter.detach().long()
        for name, parameter in numbered.named_parameters(remove_duplicate=False)
    }
    alive = {
        name: torch.tensor(np.asarray(mask)).reshape(-1)[places[name]]
        for name, mask in plan.zero.items()
    }
    return SmallNetwork(module.eval(), places, alive)
