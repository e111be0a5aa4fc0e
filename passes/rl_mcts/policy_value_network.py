"""The policy and value network f_theta: a state in, a probability per unit and a worth out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressc.array_types import BoolArray, FloatArray
from compressc.passes.rl_mcts.state_matrix import ROWS
from compressc.passes.rl_mcts.tree import Outlook

# Convolutions of every block of VGG-16, and its widths beside that of the first block.
_BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


class PolicyValueNetwork(nn.Module):
    """A 1-D VGG-16 over the units, with a head for each unit and one for the state.

    Args:
        width: channels of the first block; 64 is VGG-16.

    Shape:
        states (N, 7, units) float32; legal (N, units) bool; guide (N, units), logits added to
        those of the policy. Results: log-probabilities (N, units), -inf where illegal; worths (N,).

    Source:
        Wang and Li, WACV 2022; Simonyan and Zisserman, VGG, ICLR 2015.

    Deviations:
        No fully connected layers, so that one network reads any number of units: the policy head
        sees each unit beside what the last block says of its surroundings. Both heads begin at 0,
        so that an untrained policy is its guide, or uniform without one. The worth goes through a
        tanh, as the ends of games are -1 and 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        inputs = len(ROWS)
        for convolutions, times in _BLOCKS:
            layers: list[nn.Module] = []
            for _ in range(convolutions):
                layers += [nn.Conv1d(inputs, times * width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = times * width
            self.blocks.append(nn.Sequential(*layers))
        self.pool = nn.MaxPool1d(2, ceil_mode=True)
        self.join = nn.Conv1d(width + inputs, width, 1)
        self.policy, self.worth = nn.Conv1d(width, 1, 1), nn.Linear(inputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for head in (self.policy, self.worth):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(self, states: Tensor, legal: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and worths."""
        near = far = self.blocks[0](states)
        for block in self.blocks[1:]:
            far = block(self.pool(far))
        spread = F.interpolate(far, size=states.shape[-1], mode="nearest")
        joined = F.relu(self.join(torch.cat([near, spread], 1)))
        logits = self.policy(joined)[:, 0] + guide
        logits = logits.masked_fill(~legal, -torch.inf)
        return F.log_softmax(logits, 1), torch.tanh(self.worth(far.mean(2))[:, 0])


def make_network(width: int, seed: int) -> PolicyValueNetwork:
    """Return an untrained network, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PolicyValueNetwork(width)


def foresee(
    network: PolicyValueNetwork,
    states: Sequence[Tensor],
    legal: Sequence[BoolArray],
    guides: Sequence[FloatArray],
) -> list[Outlook]:
    """Return what the network expects of some states.

    Args:
        network: f_theta.
        states: (7, units) each.
        legal: possible units of each state, shape (units,).
        guides: logits added for each of them, shape (units,).
    """
    if not states:
        return []
    with torch.no_grad():
        logs, worths = network(
            torch.stack(list(states)),
            torch.from_numpy(np.stack(legal)),
            torch.from_numpy(np.stack(guides).astype(np.float32)),
        )
    priors = logs.exp().double().numpy()
    return [Outlook(p, float(w)) for p, w in zip(priors, worths, strict=True)]


def sum_loss(logs: Tensor, worths: Tensor, shares: Tensor, ends: Tensor) -> Tensor:
    """Return the part of Eq. 1 that data decide: (v_t - v)^2 - pi^T log p, mean over states.

    Shape:
        logs, shares (N, units); worths, ends (N,); result scalar.
    """
    # Illegal units have no share; 0 times their infinite logarithm counts as 0.
    policy = (shares * logs.masked_fill(shares == 0, 0.0)).sum(1)
    return ((ends - worths).square() - policy).mean()


def load_weights(network: PolicyValueNetwork, weights: Mapping[str, Any]) -> None:
    """Put weights into a network of the same width."""
    network.load_state_dict(dict(weights))
