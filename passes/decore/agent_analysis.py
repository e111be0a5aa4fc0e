"""Analysis: what the highest and the lowest agents are worth, told by what their loss costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from compressc.array_types import FloatArray
from compressc.passes.gates.activation_gates import GatedNetwork
from compressc.passes.gates.gated_units import GatedUnits
from compressc.program import Program
from compressc.tasks.protocol import Task


@dataclass(frozen=True)
class RemovalCost:
    """Metric on search-validation without some channels.

    Attributes:
        share: of all agents.
        count: how many channels that is.
        whole: with all channels.
        without_highest, without_lowest: without those of the highest and the lowest agents.
    """

    share: float
    count: int
    whole: float
    without_highest: float
    without_lowest: float

    @property
    def cost_of_highest(self) -> float:
        """Points lost without the channels of the highest agents."""
        return self.whole - self.without_highest

    @property
    def cost_of_lowest(self) -> float:
        """Points lost without the channels of the lowest agents."""
        return self.whole - self.without_lowest

    def __str__(self) -> str:
        return (
            f"without the {self.count} channels of the highest agents ({100 * self.share:g} %) "
            f"search-validation falls by {self.cost_of_highest:.2f}, without those of the lowest "
            f"by {self.cost_of_lowest:.2f}"
        )


def analyse_agents(
    program: Program,
    agents: GatedUnits,
    weights: FloatArray,
    task: Task,
    shares: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2),
) -> tuple[RemovalCost, ...]:
    """Return what removing the channels of the k highest and the k lowest agents costs.

    Nothing is trained in between; channels are silenced, not cut, so that any set may go.

    Args:
        program: the network that the agents were trained on or with.
        agents: its agents.
        weights: of the agents, shape (agents,).
        task: its search-validation split is used.
        shares: of all agents that k is; at least one agent each.

    Source:
        Alwani et al., DECORE, CVPR 2022, section 5.
    """
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    network = GatedNetwork(module, agents, torch.device("cpu"))
    order = np.argsort(weights, kind="stable")

    def judge(gone: np.ndarray) -> float:
        actions = torch.ones(1, agents.count)
        actions[0, torch.as_tensor(gone.copy())] = 0
        network.set_factors(actions)
        return float(task.validate(module.eval()))

    whole = judge(order[:0])
    costs = []
    for share in shares:
        count = max(1, round(share * agents.count))
        costs.append(RemovalCost(share, count, whole, judge(order[-count:]), judge(order[:count])))
    return tuple(costs)
