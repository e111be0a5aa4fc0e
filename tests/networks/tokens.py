"""Blocks over tokens: linear layers, layer norms and attention in their spellings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks.catalogue import block


def to_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def to_image(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).reshape(like.shape[0], -1, like.shape[2], like.shape[3])


@block("mlp", 4)
class Mlp(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.norm = nn.RMSNorm(channels) if variant == 2 else nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 24)
        self.down = nn.Linear(12 if variant == 1 else 24, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1) if self.variant == 3 else to_tokens(x)
        hidden = self.up(self.norm(tokens))
        if self.variant == 1:
            gate, value = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * value
        tokens = tokens + self.down(F.gelu(hidden))
        return tokens.permute(0, 3, 1, 2) if self.variant == 3 else to_image(tokens, x)


@block("channels_last")
class ChannelsLast(nn.Module):
    """ConvNeXt: depthwise, norm and linear layers over the last axis, layer scale."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 16)
        self.down = nn.Linear(16, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        out = self.gamma * self.down(F.gelu(self.up(out)))
        return x + out.permute(0, 3, 1, 2)


@block("attention", 6)
class Attention(nn.Module):
    """Two heads of four channels; the variants are the ways people write it."""

    heads, width = 2, 4

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.qkv = nn.Linear(channels, 3 * self.heads * self.width)
        self.project = nn.Linear(self.heads * self.width, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        batch, count, _ = tokens.shape
        found = self.qkv(tokens)
        if self.variant in (0, 1, 5):
            found = found.reshape(batch, count, 3, self.heads, self.width)
            query, key, value = found.permute(2, 0, 3, 1, 4).unbind(0)
        elif self.variant == 2:
            query, key, value = (
                part.view(batch, count, self.heads, self.width).transpose(1, 2)
                for part in found.chunk(3, dim=-1)
            )
        elif self.variant == 3:
            parts = found.view(batch, count, self.heads, 3 * self.width).transpose(1, 2)
            query, key, value = parts.split(self.width, dim=-1)
        else:
            parts = found.view(batch, count, self.heads, self.width, 3)
            query, key, value = (parts[..., i].transpose(1, 2) for i in range(3))
        if self.variant in (0, 2):
            out = F.scaled_dot_product_attention(query, key, value)
        elif self.variant == 1:
            scores = (query @ key.transpose(-2, -1)) * self.width**-0.5
            out = scores.softmax(-1) @ value
        elif self.variant == 5:
            scores = torch.einsum("bhid,bhjd->bhij", query, key).softmax(-1)
            out = torch.einsum("bhij,bhjd->bhid", scores, value)
        else:
            scores = (query / self.width**0.5).matmul(key.mT).softmax(dim=-1)
            out = torch.matmul(scores, value)
        out = out.transpose(1, 2).reshape(batch, count, self.heads * self.width)
        return to_image(tokens + self.project(out), x)


@block("separate_attention", 2)
class SeparateAttention(nn.Module):
    """Queries, keys and values from layers of their own, with and without rotary halves."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.rotate = variant == 1
        self.query = nn.Linear(channels, 8)
        self.key = nn.Linear(channels, 8, bias=False)
        self.value = nn.Linear(channels, 12)
        self.project = nn.Linear(12, channels)

    def turn(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=-1)
        return x + torch.cat([-right, left], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        query, key, value = self.query(tokens), self.key(tokens), self.value(tokens)
        query = query.unflatten(-1, (2, 4)).transpose(1, 2)
        key = key.unflatten(-1, (2, 4)).transpose(1, 2)
        value = value.unflatten(-1, (2, 6)).transpose(1, 2)
        if self.rotate:
            query, key = self.turn(query), self.turn(key)
        out = F.scaled_dot_product_attention(query, key, value)
        return to_image(tokens + self.project(out.transpose(1, 2).flatten(2)), x)


@block("torch_attention")
class TorchAttention(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        return to_image(tokens + self.attention(tokens, tokens, tokens)[0], x)


@block("window_attention", 2)
class WindowAttention(nn.Module):
    """Swin: windows, a relative position table, shifts."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.shift = variant
        self.qkv = nn.Linear(channels, 24)
        self.project = nn.Linear(8, channels)
        self.table = nn.Parameter(torch.zeros(9, 2))
        index = torch.arange(4)[:, None] + torch.arange(4)[None, :]
        self.register_buffer("index", index.reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = torch.roll(x, (-self.shift, -self.shift), (2, 3)) if self.shift else x
        tokens = tokens.view(batch, channels, height // 2, 2, width // 2, 2)
        tokens = tokens.permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, channels)
        qkv = self.qkv(tokens).reshape(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        bias = self.table[self.index].view(4, 4, 2).permute(2, 0, 1).contiguous()
        scores = (query @ key.transpose(-2, -1) + bias.unsqueeze(0)).softmax(-1)
        out = (scores @ value).transpose(1, 2).reshape(-1, 4, 8)
        out = self.project(out).view(batch, height // 2, width // 2, 2, 2, channels)
        return x + out.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, height, width)


@block("linear_attention")
class LinearAttention(nn.Module):
    """Keys and values meet first, so the channels of keys form a matrix axis."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(channels, 24, 1, bias=False)
        self.project = nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).flatten(2).chunk(3, dim=1)
        context = key.softmax(-1) @ value.transpose(1, 2)
        out = context.transpose(1, 2) @ query
        return x + self.project(out.reshape(x.shape[0], -1, x.shape[2], x.shape[3]))


@block("class_token")
class ClassToken(nn.Module):
    """A learned token and a position table join the tokens and leave again."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, channels))
        self.positions = nn.Parameter(torch.zeros(1, 1, channels))
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        first = self.token.expand(x.shape[0], -1, -1)
        tokens = self.mix(torch.cat([first, tokens], dim=1) + self.positions)
        return to_image(tokens[:, 1:] * tokens[:, :1].sigmoid(), x)


@block("sequence_conv", 2)
class SequenceConv(nn.Module):
    """One- and three-dimensional convolutions over views of the image."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        layer = nn.Conv3d if variant else nn.Conv1d
        self.variant = variant
        self.first = layer(channels, 12, 3, padding=1)
        self.second = layer(12, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.unsqueeze(2) if self.variant else x.flatten(2)
        out = self.second(F.relu(self.first(flat)))
        return x + (out.squeeze(2) if self.variant else out.unflatten(2, x.shape[2:]))


@block("batched_channels")
class BatchedChannels(nn.Module):
    """Channels travel in the batch axis for a while."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 1)
        self.blur = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        batch, channels, height, width = x.shape
        out = self.blur(x.reshape(batch * channels, 1, height, width))
        return out.reshape(batch, channels, height, width)


@block("gram", 2)
class Gram(nn.Module):
    """Channels attend to channels: softmax, or a plain product, over them."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.conv = nn.Conv2d(channels, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        flat = x.flatten(2)
        scores = flat @ flat.transpose(1, 2)
        scores = scores.softmax(-1) if self.variant == 0 else scores * 0.01
        return x + (scores @ flat).view_as(x)
