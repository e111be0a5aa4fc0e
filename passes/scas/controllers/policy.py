"""The policy of ENAS: an LSTM that makes one decision after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressc.choices.branches import Choice

_HIDDEN = 64
# ENAS divides logits by the temperature and squeezes them, so that no decision is certain early.
_TEMPERATURE, _SQUEEZE = 5.0, 2.5
_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class Sample:
    """One architecture that the policy made.

    Attributes:
        choice: the decisions.
        log_probability, entropy: of all of them, scalars with gradients.
        skip_distance: mean divergence of the probabilities of connections from a target, scalar.
    """

    choice: dict[str, int]
    log_probability: Tensor
    entropy: Tensor
    skip_distance: Tensor


class Policy(nn.Module):
    """Makes decisions in graph order, each knowing those before it.

    Args:
        choices: the decisions.
        skip_target: of connections that may be left out, the share to keep.

    Source:
        Pham et al., Efficient Neural Architecture Search via Parameter Sharing, ICML 2018,
        section 2.3 and appendix: hidden size 64, temperature 5, tanh constant 2.5, uniform
        initialisation within 0.1.

    Deviations:
        Skip connections have a linear layer like every other decision, where ENAS has attention
        over the layers; the divergence of their probabilities from the target is ENAS's.
    """

    def __init__(self, choices: Sequence[Choice], skip_target: float) -> None:
        super().__init__()
        self._choices = tuple(choices)
        self._starts = [1 + sum(entry.count for entry in choices[:i]) for i in range(len(choices))]
        self.embedding = nn.Embedding(1 + sum(entry.count for entry in choices), _HIDDEN)
        self.cell = nn.LSTMCell(_HIDDEN, _HIDDEN)
        self.heads = nn.ModuleList(nn.Linear(_HIDDEN, entry.count) for entry in choices)
        self._target = torch.tensor([1 - skip_target, skip_target])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -_SPREAD, _SPREAD)

    def sample(self, *, likeliest: bool = False) -> Sample:
        """Return an architecture, drawn from torch's generator or made of the likeliest choices."""
        token, memory = torch.zeros(1, dtype=torch.long), None
        choice: dict[str, int] = {}
        log_probability = entropy = skip_distance = torch.zeros(())
        skips = 0
        for entry, start, head in zip(self._choices, self._starts, self.heads, strict=True):
            hidden, cell = self.cell(self.embedding(token), memory)
            memory = (hidden, cell)
            logits = _SQUEEZE * torch.tanh(head(hidden)[0] / _TEMPERATURE)
            logs = logits.log_softmax(0)
            index = int(logs.argmax() if likeliest else torch.multinomial(logs.exp(), 1))
            choice[entry.name] = index
            log_probability = log_probability + logs[index]
            entropy = entropy - (logs * logs.exp()).sum()
            if entry.zero is not None and entry.count == 2:
                ordered = logs if entry.zero == 0 else logs.flip(0)
                distance = (ordered.exp() * (ordered - self._target.log())).sum()
                skip_distance, skips = skip_distance + distance, skips + 1
            token = torch.tensor([start + index])
        return Sample(choice, log_probability, entropy, skip_distance / max(1, skips))
