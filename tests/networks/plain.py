"""Blocks of plain, residual, concatenating and pooling networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks.catalogue import block, conv_norm


@block("conv", 4)
class Plain(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        out = (8, 12, 16, channels)[variant]
        self.conv = nn.Conv2d(channels, out, 3, padding=1, bias=variant % 2 == 0)
        self.norm = nn.BatchNorm2d(out, affine=variant != 2)
        self.act = (nn.ReLU(), nn.SiLU(inplace=True), nn.Hardswish(), nn.LeakyReLU(0.1))[variant]

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


@block("residual", 3)
class Residual(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.first = conv_norm(channels, 8)
        self.second = nn.Sequential(nn.Conv2d(8, channels, 3, padding=1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.first(x))
        if self.variant == 1:
            out += x
            return F.relu_(out)
        if self.variant == 2:
            return F.relu(torch.add(x, out, alpha=0.5))
        return F.relu(out + x)


@block("projection", 2)
class Projection(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        out = 16 if channels != 16 else 12
        stride = 1 + variant
        self.body = nn.Sequential(conv_norm(channels, 8, 3, stride), nn.Conv2d(8, out, 1))
        self.shortcut = nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


@block("pad_shortcut", 3)
class PadShortcut(nn.Module):
    """ResNet option A: the shortcut is padded with zero channels."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.before = (channels // 2, 0, channels // 4)[variant]
        self.after = channels - self.before if variant != 2 else 0
        out = channels + self.before + self.after
        out += (-out) % 4
        self.after = out - channels - self.before
        self.stride = 1 + variant % 2
        self.body = nn.Sequential(
            conv_norm(channels, 8, 3, self.stride), nn.Conv2d(8, out, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, self.before, self.after))
        return F.relu(self.body(x) + shortcut)


@block("concat", 2)
class Concat(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.left = conv_norm(channels, 4)
        self.right = conv_norm(channels, 8, 1)
        self.variant = variant

    def forward(self, x: Tensor) -> Tensor:
        if self.variant:
            return torch.cat([x, self.left(x), x], 1)
        return torch.cat([self.left(x), self.right(x)], -3)


@block("dense")
class Dense(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + 4 * i),
                nn.ReLU(),
                nn.Conv2d(channels + 4 * i, 4, 3, padding=1),
            )
            for i in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


@block("inception")
class Inception(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.one = conv_norm(channels, 4, 1)
        self.three = nn.Sequential(conv_norm(channels, 6, 1), conv_norm(6, 8))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pool(x)], 1)


@block("pool", 5)
class Pool(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.pool = (
            nn.MaxPool2d(2, ceil_mode=True),
            nn.AvgPool2d(3, 1, 1),
            nn.AdaptiveAvgPool2d(4),
            nn.Upsample(size=(8, 8), mode="nearest"),
            nn.Upsample(size=(6, 6), mode="bilinear", align_corners=False),
        )[variant]

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


@block("transposed", 3)
class Transposed(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        out = 12 if variant == 0 else channels
        groups = (1, channels, 2)[variant]
        self.up = nn.ConvTranspose2d(channels, out, 2, 2, groups=groups)
        self.down = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)))


@block("pixel_shuffle", 3)
class PixelShuffle(nn.Module):
    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.conv = nn.Conv2d(channels, 8 if variant == 1 else 32, 1)
        self.after = nn.Conv2d(32 if variant else 8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        if self.variant == 1:
            x = F.interpolate(x, size=(4, 4))
            return self.after(F.pixel_unshuffle(x, 2))
        x = F.pixel_shuffle(x, 2)
        return self.after(F.pixel_unshuffle(x, 2) if self.variant else F.max_pool2d(x, 2))


@block("multi_scale")
class MultiScale(nn.Module):
    """HRNet: two resolutions that exchange sums."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.high = conv_norm(channels, 8)
        self.low = conv_norm(channels, 12, 3, 2)
        self.up = nn.Conv2d(12, 8, 1)
        self.down = conv_norm(8, 12, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        high, low = self.high(x), self.low(x)
        fused = F.relu(high + F.interpolate(self.up(low), size=high.shape[-2:], mode="bilinear"))
        low = F.relu(low + self.down(high))
        return torch.cat([fused, F.interpolate(low, size=high.shape[-2:])], 1)


@block("tied")
class Tied(nn.Module):
    """One convolution used twice on the same stream."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(F.relu(self.conv(x))) + x)


@block("affine", 4)
class Affine(nn.Module):
    """Per-channel parameters outside of norms: layer scale, prelu, a broadcast bias."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.conv = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.prelu = nn.PReLU(channels if variant else 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.conv(x))
        if self.variant == 1:
            return x + self.scale * out
        if self.variant == 2:
            return torch.addcmul(x, self.scale, out) + self.bias.expand(x.shape[0], -1, -1, -1)
        if self.variant == 3:
            return torch.where(out > x, out, self.bias)
        return self.scale.unsqueeze(0) * out + self.bias


@block("borders", 3)
class Borders(nn.Module):
    """Reflected padding, flips and rolls of space."""

    def __init__(self, channels: int, variant: int) -> None:
        super().__init__()
        self.variant = variant
        self.conv = nn.Conv2d(channels, 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == 1:
            x = torch.roll(x, (1, -1), (2, 3)) + x.flip(-1)
        mode = ("reflect", "replicate", "constant")[self.variant]
        return F.gelu(self.conv(F.pad(x, (1, 1, 1, 1), mode=mode)))
