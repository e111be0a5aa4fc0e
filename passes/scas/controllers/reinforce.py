"""The controller of ENAS: an LSTM policy that learns by REINFORCE."""

from __future__ import annotations

import math
from typing import Any

import torch

from compressc.errors import ControllerError
from compressc.passes.scas.controllers.controller import Ground, SharedWeights
from compressc.passes.scas.controllers.policy import Policy
from compressc.passes.scas.supernet import Architecture
from compressc.search.validation_sample import sample_validation
from compressc.tasks.capabilities import SamplesValidation

_RATE = 0.01
# How much of the baseline stays at every step; ENAS has 0.99 and thousands of steps.
_BASELINE_STAYS = 0.9
# The most draws for each finalist that is to differ from the others.
_DRAWS = 20


class Reinforce(SharedWeights):
    """Learns which architectures do well with pruned weights.

    The reward is the metric on search-validation, as a share of 100, of the child with pruned
    weights. A moving average is the baseline; there is a bonus for entropy, and a penalty on how
    far the density of skip connections is from a target.

    Args:
        ground: what it works on.

    Source:
        SCAS, Algorithm 1; Pham et al., ICML 2018, section 2.3; Williams, REINFORCE, 1992.

    Deviations:
        The entropy is part of the loss instead of the reward. The baseline forgets faster, since
        there are fewer steps.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        settings = ground.settings
        self._policy = Policy(ground.supernet.choices, settings.skip_target)
        rate = settings.controller_rate or _RATE
        self._optimizer = torch.optim.Adam(self._policy.parameters(), rate)
        self._baseline: float | None = None

    def propose(self) -> Architecture:
        """Return a child that the policy draws."""
        with torch.no_grad():
            return self._policy.sample().choice

    def learn(self, epoch: int) -> str:
        """Try children, and make those likelier that are better than usual.

        Raises:
            ControllerError: if the policy has become no number.
        """
        settings, rewards = self._ground.settings, []
        for step in range(settings.controller_steps):
            sample = self._policy.sample()
            reward = self._judge(sample.choice, epoch * settings.controller_steps + step)
            rewards.append(reward)
            before = reward if self._baseline is None else self._baseline
            self._baseline = _BASELINE_STAYS * before + (1 - _BASELINE_STAYS) * reward
            loss = (
                -sample.log_probability * (reward - self._baseline)
                - settings.entropy * sample.entropy
                + settings.skip_penalty * sample.skip_distance
            )
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
            if not all(bool(torch.isfinite(p).all()) for p in self._policy.parameters()):
                raise ControllerError(
                    f"the controller became NaN in epoch {epoch + 1}, step {step + 1} (reward "
                    f"{reward:g}); give a lower --controller-rate than "
                    f"{settings.controller_rate or _RATE:g}"
                )
        return f"mean reward {100 * sum(rewards) / len(rewards):.1f}, best {100 * max(rewards):.1f}"

    def _judge(self, choice: dict[str, int], number: int) -> float:
        ground, task = self._ground, self._ground.task
        if isinstance(task, SamplesValidation):
            seed = ground.seed + 7919 * number
            task = sample_validation(task, ground.settings.reward_samples, seed)
        metric = float(task.validate(ground.supernet.child(choice, {})))
        return metric / 100 if math.isfinite(metric) else math.nan

    def favourite(self) -> dict[str, int]:
        """Return the likeliest architecture."""
        with torch.no_grad():
            return self._policy.sample(likeliest=True).choice

    def finalists(self, count: int) -> list[dict[str, int]]:
        """Return the likeliest architecture and draws of the policy."""
        chosen = [self.favourite()]
        for _ in range(_DRAWS * count):
            if len(chosen) == count:
                break
            with torch.no_grad():
                choice = self._policy.sample().choice
            if choice not in chosen:
                chosen.append(choice)
        return chosen

    def state(self) -> dict[str, Any]:
        """Return the policy, its optimizer and the baseline."""
        return {
            "policy": self._policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "baseline": self._baseline,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._baseline = state["baseline"]
