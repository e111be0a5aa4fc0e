"""Matrix products."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.linear_layers import LINEAR
from compressc.frontend.onnx_import.registry import operator


@operator(LINEAR)
def multiply_by_weight(call: Call) -> Results:
    """A product with a weight (out, in), and its bias."""
    return F.linear(call.tensor(0), call.tensor(1), call.optional(2))


@operator("MatMul")
def multiply(call: Call) -> Results:
    """Matrix product over the last two axes."""
    return torch.matmul(call.tensor(0), call.tensor(1))


@operator("Gemm")
def multiply_and_add(call: Call) -> Results:
    """``alpha * A @ B + beta * C``."""
    left, right, addend = call.tensor(0), call.tensor(1), call.optional(2)
    left = left.t() if call.attribute("transA", 0) else left
    right = right.t() if call.attribute("transB", 0) else right
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    product = torch.matmul(left, right)
    product = product if alpha == 1.0 else product * alpha
    if addend is None:
        return product
    return product + (addend if beta == 1.0 else addend * beta)


@operator("Einsum")
def sum_products(call: Call) -> Results:
    """Einstein's sum."""
    return torch.einsum(call.attribute("equation").replace(" ", ""), *call.tensors())
