"""Elementwise operations: operands are joined, values pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from compressc.channels.axes import Axes
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value

aten = torch.ops.aten

_NAMES = """
abs acos acosh add addcdiv addcmul alias_copy angle asin asinh atan atan2 atanh bitwise_and
bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip clone contiguous
copy copysign cos cosh detach detach_ digamma div divide elu eq erf erfc erfinv exp exp2 expm1
fill floor floor_divide fmax fmin fmod frac ge gelu gt hardshrink hardsigmoid hardswish hardtanh
isfinite isinf isnan le leaky_relu lerp lgamma log log10 log1p log2 log_sigmoid logical_and
logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul multiply
nan_to_num ne neg negative positive pow reciprocal relu relu6 remainder round rrelu rsqrt rsub
rsub selu sgn sigmoid sign silu sin sinh softplus softshrink sqrt square sub subtract tan tanh
tanhshrink threshold to true_divide trunc type_as where xlogy dropout alpha_dropout
feature_dropout feature_alpha_dropout _to_copy lift_fresh_copy bernoulli alias
logaddexp logaddexp2 heaviside hypot float_power special_erf special_expit sinc
signbit zero bitwise_left_shift bitwise_right_shift __and__ __or__
__xor__ ldexp conj_physical i0
""".split()

# Overloads that are not elementwise over their tensor operands.
_EXCLUDED = {"pow.Scalar_out", "where.default"}

# Of the second operand only the type is read.
_TYPE_READERS = (aten.type_as.default, aten.to.other)


def _targets() -> list[Any]:
    targets: list[Any] = []
    for name in _NAMES:
        for variant in (name, name if name.endswith("_") else f"{name}_"):
            packet = getattr(aten, variant, None)
            if packet is None:
                continue
            for overload in packet.overloads():
                full = f"{variant}.{overload}"
                if not f"_{overload}".endswith("_out") and full not in _EXCLUDED:
                    targets.append(getattr(packet, overload))
    return list(dict.fromkeys(targets))


@rule(*_targets())
def elementwise(site: Site) -> Value:
    """Right-aligned broadcast; an operand of size 1 couples nothing."""
    operands: list[Axes] = []
    arguments = (*site.node.args, *site.node.kwargs.values())
    for argument in arguments[:1] if site.node.target in _TYPE_READERS else arguments:
        axes = site.axes_of(argument) if isinstance(argument, fx.Node) else None
        if axes is not None:
            operands.append(axes)
    if not operands:
        return site.plain_output()
    joined = broadcast(site, operands)
    if len(joined) > len(site.shape()):
        raise TypeError(f"{site.name} returned fewer axes than it was given")
    return joined


@rule(aten.max.other, aten.min.other)
def extreme_of_two(site: Site) -> Value:
    """The larger or smaller of two values, element by element."""
    return elementwise(site)
