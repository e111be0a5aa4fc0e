"""Cases of reductions and of operations whose result depends on whole axes."""

from __future__ import annotations

from typing import Any

import torch

from tests.graph_kit import Kit, aten
from tests.rule_cases.catalogue import case


@case(
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.nansum.default,
    aten.amax.default,
    aten.amin.default,
    aten.logsumexp.default,
    aten.linalg_vector_norm.default,
)
def reduce_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    order = (2,) if op is aten.linalg_vector_norm.default else ()
    return kit.read("r", aten.mul.Tensor(x, op(x, *order, [1], True)), 8)


@case(aten.mean.dim, aten.sum.dim_IntList, prunes=("a", "b"))
def reduce_channels_and_space(kit: Kit, op: Any) -> Any:
    both = aten.mul.Tensor(kit.source("b"), op(kit.source("a"), [1, -1], True))
    return kit.read("r", both, 8)


@case(aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim)
def spread_of_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    # Without Bessel's correction: one channel alone has no spread to correct.
    exact = {"correction": 0} if "correction" in str(op) else {"unbiased": False}
    return kit.read("r", aten.mul.Tensor(x, op(x, [1], keepdim=True, **exact)), 8)


@case(aten.var_mean.correction, aten.std_mean.correction, aten.var_mean.dim, aten.std_mean.dim)
def moments_of_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    exact = {"correction": 0} if "correction" in str(op) else {"unbiased": False}
    found = op(x, [1], keepdim=True, **exact)
    spread = aten.add.Scalar(found[0], 0.1)
    return kit.read("r", aten.div.Tensor(aten.sub.Tensor(x, found[1]), spread), 8)


@case(aten.norm.ScalarOpt_dim, aten.norm.ScalarOpt_dim_dtype)
def norm_of_channels(kit: Kit, op: Any) -> Any:
    if op is aten.norm.ScalarOpt_dim_dtype:
        return op(kit.source("a"), 2, [1], False, dtype=torch.float64)
    return op(kit.source("a"), 2, [1])


@case(aten.max.dim, aten.min.dim)
def extreme_channel(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", aten.mul.Tensor(x, op(x, 1, True)[0]), 8)


@case(aten.max.dim, aten.min.dim, prunes=("b",), pins=("a",))
def place_of_the_extreme_channel(kit: Kit, op: Any) -> Any:
    place = op(kit.source("a"), 1, True)[1]
    return kit.read("r", aten.mul.Tensor(kit.source("b"), _number(place)), 8)


@case(aten.aminmax.default)
def both_extremes(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    found = op(x, dim=1, keepdim=True)
    return kit.read("r", aten.mul.Tensor(aten.sub.Tensor(x, found[0]), found[1]), 8)


@case(aten.prod.dim_int)
def product_of_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", aten.mul.Tensor(x, op(aten.sigmoid.default(x), 1, True)), 8)


@case(aten.any.dim, aten.any.dims, aten.all.dim, aten.all.dims, aten.count_nonzero.dim_IntList)
def truth_of_channels(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    dim: Any = 1 if op in (aten.any.dim, aten.all.dim) else [1]
    found = aten.unsqueeze.default(op(aten.gt.Scalar(x, 0.3), dim), 1)
    return kit.read("r", aten.mul.Tensor(x, _number(found)), 8)


def _number(value: Any) -> Any:
    return aten.add.Scalar(aten._to_copy.default(value, dtype=torch.float64), 1)


@case(
    aten.mean.default,
    aten.sum.default,
    aten.max.default,
    aten.min.default,
    aten.std.default,
    aten.var.default,
)
def reduce_everything(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    return kit.read("r", aten.mul.Tensor(x, op(x)), 8)


@case(aten.norm.Scalar, aten.prod.default, aten.any.default, aten.all.default)
def reduce_everything_to_a_factor(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    if op in (aten.any.default, aten.all.default):
        found = _number(op(aten.gt.Scalar(x, 0.3)))
    elif op is aten.prod.default:
        found = op(aten.sigmoid.default(aten.add.Scalar(x, 5)))
    else:
        found = op(x, 2)
    return kit.read("r", aten.mul.Tensor(x, found), 8)


@case(aten.std_mean.default, aten.var_mean.default)
def moments_of_everything(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    found = op(x, False)
    return kit.read("r", aten.mul.Tensor(aten.sub.Tensor(x, found[1]), found[0]), 8)


@case(aten.median.dim, aten.nanmedian.dim, aten.kthvalue.default)
def middle_of_space(kit: Kit, op: Any) -> Any:
    flat = aten.flatten.using_ints(kit.source("a"), 2)
    arguments = (3, 2) if op is aten.kthvalue.default else (2,)
    return kit.read("r", op(flat, *arguments)[0], 8)


@case(aten.median.dim, aten.nanmedian.dim, aten.kthvalue.default, prunes=("b",), pins=("a",))
def middle_channel(kit: Kit, op: Any) -> Any:
    arguments = (3, 1) if op is aten.kthvalue.default else (1,)
    return op(kit.source("a"), *arguments)[0], kit.read("s", kit.source("b"), 8)


@case(aten.argmax.default, aten.argmin.default, prunes=("b",), pins=("a",))
def place_of_an_extreme(kit: Kit, op: Any) -> Any:
    place = op(kit.source("a"), 1, True)
    return kit.read("r", aten.mul.Tensor(kit.source("b"), _number(place)), 8)


_SOFTMAX = (aten.softmax.int, aten.log_softmax.int)
_PLAIN_SOFTMAX = (aten._softmax.default, aten._log_softmax.default)


@case(*_SOFTMAX, *_PLAIN_SOFTMAX)
def softmax_over_channels(kit: Kit, op: Any) -> Any:
    arguments = (1, False) if op in _PLAIN_SOFTMAX else (1,)
    return kit.read("r", op(kit.source("a"), *arguments), 8)


@case(*_SOFTMAX, *_PLAIN_SOFTMAX)
def softmax_over_space(kit: Kit, op: Any) -> Any:
    arguments = (2, False) if op in _PLAIN_SOFTMAX else (2,)
    return kit.read("r", op(aten.flatten.using_ints(kit.source("a"), 2), *arguments), 8)


@case(
    aten.cumsum.default,
    aten.cumprod.default,
    aten.logcumsumexp.default,
    prunes=("b",),
    pins=("a",),
)
def accumulate_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 1), 8), kit.read("s", kit.source("b"), 8)
