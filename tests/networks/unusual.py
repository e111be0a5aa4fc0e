"""Blocks with recurrences, normalised weights, transforms, tables and data-dependent places."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tests.networks.catalogue import block
from tests.networks.tokens import to_image, to_tokens


@block("recurrent", 4)
class Recurrent(nn.Module):
    """LSTM and GRU over the rows; states made by torch or by the model itself."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.rnn: nn.RNNBase
        if variant == 1:
            self.rnn = nn.GRU(channels, 6, num_layers=2, bidirectional=True, batch_first=True)
        else:
            narrow = 4 if variant == 3 else 0
            self.rnn = nn.LSTM(channels, 6, batch_first=True, proj_size=narrow)
        self.back = nn.Linear((6, 12, 6, 4)[variant], channels)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(3).transpose(1, 2)
        if self.variant == 2:
            state = torch.zeros(1, x.shape[0], 6)
            found, _ = self.rnn(rows, (state, state))
        else:
            found, _ = self.rnn(rows)
        return x + self.back(found).transpose(1, 2).unsqueeze(-1)


class Standardised(nn.Conv2d):
    """Weight standardisation: every filter has mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / (variance + 1e-5).sqrt()
        return F.conv2d(x, weight, self.bias, padding=1)


@block("normalised_weight", 3)
class NormalisedWeight(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        if variant == 2:
            self.conv: nn.Module = Standardised(channels, 12, 3)
        else:
            normalise = (parametrizations.weight_norm, parametrizations.spectral_norm)[variant]
            self.conv = normalise(nn.Conv2d(channels, 12, 3, padding=1))
        self.project = nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.gelu(self.conv(x)))


@block("neighbour_channels")
class NeighbourChannels(nn.Module):
    """ECA: a filter slides over the channels."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3)).unsqueeze(1)
        return x * torch.sigmoid(self.conv(pooled)).transpose(1, 2).unsqueeze(-1)


@block("spectral")
class Spectral(nn.Module):
    """A filter in the frequency domain, one per channel."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")
        return torch.fft.irfft2(spectrum * self.filter, s=x.shape[-2:], norm="ortho") + x


@block("patches", 3)
class Patches(nn.Module):
    """Involution over unfolded patches; space to depth by slices; max unpooling."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.conv = nn.Conv2d(channels, 8, 1)
        self.kernel = nn.Conv2d(channels, 9, 1)
        self.mix = nn.Conv2d(32 if variant == 1 else 8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        value = self.conv(x)
        batch, channels, height, width = value.shape
        if self.variant == 0:
            patches = F.unfold(value, 3, padding=1).view(batch, channels, 9, height, width)
            value = (patches * self.kernel(x).softmax(1).unsqueeze(1)).sum(2)
        elif self.variant == 1:
            value = F.interpolate(value, size=(8, 8))
            corners = [value[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
            value = torch.cat(corners, 1)
        else:
            pooled, places = F.max_pool2d(value, 2, return_indices=True)
            value = F.max_unpool2d(pooled, places, 2, output_size=(height, width)) + value
        return self.mix(F.silu(value))


@block("selected_tokens")
class SelectedTokens(nn.Module):
    """The tokens with the highest scores are worked on; positions come from a table."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(100, channels)
        self.score = nn.Linear(channels, 1)
        self.work = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        tokens = tokens + self.positions(torch.arange(tokens.shape[1]))
        chosen = self.score(tokens).squeeze(-1).topk(4, dim=1).indices
        places = chosen.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        worked = self.work(tokens.gather(1, places))
        return to_image(tokens.scatter_add(1, places, worked), x)


@block("normed_attention", 2)
class NormedAttention(nn.Module):
    """Cosine attention, or keys shared by two heads each."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.shared = variant == 1
        self.query = nn.Linear(channels, 16)
        self.key = nn.Linear(channels, 8 if self.shared else 16)
        self.value = nn.Linear(channels, 8 if self.shared else 16)
        self.project = nn.Linear(16, channels)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 4)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        query, key, value = (
            self.heads(layer(tokens)) for layer in (self.query, self.key, self.value)
        )
        if self.shared:
            key, value = (part.repeat_interleave(2, dim=1) for part in (key, value))
            out = F.scaled_dot_product_attention(query, key, value)
        else:
            query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
            out = (query @ key.transpose(-2, -1) * self.scale).softmax(-1) @ value
        return to_image(tokens + self.project(out.transpose(1, 2).flatten(2)), x)


@block("conditional")
class Conditional(nn.Module):
    """CondConv: every sample has a weight of its own, mixed from experts."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(3, 8 * channels))
        self.route = nn.Linear(channels, 3)
        self.project = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        weight = torch.sigmoid(self.route(x.mean((2, 3)))) @ self.experts
        weight = weight.view(batch * 8, channels, 1, 1)
        out = F.conv2d(x.reshape(1, batch * channels, height, width), weight, groups=batch)
        return self.project(out.view(batch, 8, height, width))
