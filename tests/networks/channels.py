"""Blocks that treat channels apart: splits, shuffles, conv groups, attention over channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks.catalogue import block, conv_norm


def shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(batch, channels, height, width)


@block("split", 3)
class Split(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.sizes = [channels // 2, channels // 2]
        if variant == 1:
            self.sizes = [channels // 4, channels - channels // 4]
        self.left = conv_norm(self.sizes[0], 8)
        self.right = conv_norm(self.sizes[1], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == 2:
            left, right = torch.tensor_split(x, 2, dim=1)
        else:
            left, right = torch.split(x, self.sizes, 1) if self.variant else x.chunk(2, 1)
        return torch.cat([self.right(right), self.left(left), left], 1)[:, : 12 // 4 * 4]


@block("gate", 3)
class Gate(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.conv = nn.Conv2d(channels, 24, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.variant == 0:
            return F.glu(x, 1)
        left, right = x.chunk(2, dim=1)
        return left * right.sigmoid() if self.variant == 1 else left * right


@block("shuffle", 3)
class Shuffle(nn.Module):
    """ShuffleNetV2 unit, with two or four shuffle groups."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.groups = (2, 4, 2)[variant]
        self.twice = variant == 2
        half = channels // 2
        self.branch = nn.Sequential(
            conv_norm(half, half, 1),
            nn.Conv2d(half, half, 3, padding=1, groups=half),
            nn.BatchNorm2d(half),
            conv_norm(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(1 + self.twice):
            left, right = x.chunk(2, dim=1)
            x = shuffle(torch.cat((left, self.branch(right)), dim=1), self.groups)
        return x


@block("grouped_shuffle", 2)
class GroupedShuffle(nn.Module):
    """ShuffleNetV1 unit: grouped convolutions around a shuffle."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.groups = 2 + 2 * variant
        self.reduce = conv_norm(channels, 8, 1, groups=self.groups)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grow = nn.Conv2d(8, channels, 1, groups=self.groups)

    def forward(self, x: Tensor) -> Tensor:
        out = shuffle(self.reduce(x), self.groups)
        return F.relu(x + self.grow(self.depthwise(out)))


@block("depthwise", 3)
class Depthwise(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        multiplier = 1 + variant % 2
        hidden = 12
        self.expand = conv_norm(channels, hidden, 1)
        self.depthwise = nn.Conv2d(
            hidden, multiplier * hidden, 3, padding=1, groups=hidden, bias=variant > 0
        )
        self.norm = nn.BatchNorm2d(multiplier * hidden)
        self.project = nn.Conv2d(multiplier * hidden, channels, 1)
        self.residual = variant != 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(F.relu6(self.norm(self.depthwise(self.expand(x)))))
        return x + out if self.residual else out


@block("grouped", 4)
class Grouped(nn.Module):
    """ResNeXt; the last variants meet two different numbers of conv groups."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        first, second = ((2, 1), (4, 1), (2, 4), (4, 2))[variant]
        self.body = nn.Sequential(
            conv_norm(channels, 16, 1),
            conv_norm(16, 16, 3, groups=first),
            conv_norm(16, 16, 3, groups=second),
            nn.Conv2d(16, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


@block("squeeze_excite", 3)
class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        layer = nn.Conv2d if variant == 0 else nn.Linear
        sizes = (1,) if variant == 0 else ()
        self.down = layer(channels, 4, *sizes)
        self.up = layer(4, channels, *sizes)

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == 0:
            scale = F.adaptive_avg_pool2d(x, 1)
        elif self.variant == 1:
            scale = F.adaptive_avg_pool2d(x, 1).view(x.shape[0], x.shape[1])
        else:
            scale = x.mean((2, 3))
        scale = torch.sigmoid(self.up(F.relu(self.down(scale))))
        if self.variant:
            scale = (
                scale.view(x.shape[0], x.shape[1], 1, 1)
                if self.variant == 1
                else scale[:, :, None, None]
            )
        return x * scale


@block("spatial_attention")
class SpatialAttention(nn.Module):
    """CBAM's second half: statistics over channels."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return x * torch.sigmoid(self.conv(pooled))


@block("norm", 5)
class Norm(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 12, 3, padding=1)
        self.norm = (
            nn.GroupNorm(1, 12),
            nn.GroupNorm(3, 12),
            nn.InstanceNorm2d(12, affine=True),
            nn.GroupNorm(12, 12),
            nn.LocalResponseNorm(3),
        )[variant]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


@block("response_norm")
class ResponseNorm(nn.Module):
    """ConvNeXt V2's global response normalisation."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.linalg.vector_norm(x, ord=2, dim=(2, 3), keepdim=True)
        share = energy / (energy.mean(dim=1, keepdim=True) + 1e-3)
        return self.gamma * (x * share) + self.beta + x


@block("slice", 3)
class Slice(nn.Module):
    """A part of the channels is worked on; the rest passes, or is written in place."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.part = channels // 4 if variant else channels // 2
        self.conv = nn.Conv2d(self.part, self.part, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == 2:
            out = x.clone()
            out[:, : self.part] = self.conv(x[:, : self.part])
            return out
        start = self.part if self.variant else 0
        stop = start + self.part
        worked = self.conv(x[:, start:stop])
        return torch.cat([x[:, :start], worked, x[:, stop:]], 1)


@block("hierarchy")
class Hierarchy(nn.Module):
    """Res2Net: every quarter is added to the next one."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 12, 1)
        self.parts = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(F.relu(self.conv(x)), 3, 1)
        outs = [pieces[0]]
        for piece, conv in zip(pieces[1:], self.parts, strict=True):
            outs.append(F.relu(conv(piece + outs[-1])))
        return torch.cat(outs, 1)


@block("selective", 2)
class Selective(nn.Module):
    """SKNet and ResNeSt: a softmax over branches weighs them, channel by channel."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.left = conv_norm(channels, 8)
        self.right = conv_norm(channels, 8, 1)
        self.reduce = nn.Conv2d(8, 4, 1)
        self.choose = nn.Conv2d(4, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.stack([self.left(x), self.right(x)], 1)
        pooled = branches.sum(1).mean((2, 3), keepdim=True)
        weights = self.choose(F.relu(self.reduce(pooled)))
        weights = weights.view(x.shape[0], 2, 8, 1, 1).softmax(1)
        if self.variant:
            left, right = weights.unbind(1)
            return left * branches[:, 0] + right * branches[:, 1]
        return (weights * branches).sum(1)


@block("ghost")
class Ghost(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.primary = conv_norm(channels, 6, 1)
        self.cheap = conv_norm(6, 6, 3, groups=6)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)[:, :8]


@block("reorder", 3)
class Reorder(nn.Module):
    """Channels in another constant order."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        generator = torch.Generator().manual_seed(channels)
        self.register_buffer("order", torch.randperm(channels, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == 0:
            return torch.index_select(x, 1, self.order)
        return x[:, self.order] if self.variant == 1 else x.flip(1)


@block("constants", 3)
class Constants(nn.Module):
    """Constant channels beside computed ones."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.planes = nn.Parameter(torch.zeros(1, 4, 1, 1))
        self.mix = nn.Conv2d(channels + 4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], 4, x.shape[2], x.shape[3])
        if self.variant == 0:
            extra = x.new_zeros(shape)
        elif self.variant == 1:
            extra = torch.ones(shape)
        else:
            extra = self.planes.expand(shape)
        return F.relu(self.mix(torch.cat([extra, x], 1)))
