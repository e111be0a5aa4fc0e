"""Multiply-accumulates of ONNX operators, one rule per family.

Counted are the operators that multiply: convolutions, matrix products, recurrent layers,
attention. Elementwise operators, pooling and normalisations count nothing, as is usual. Biases
count nothing either: they are additions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


class ShapeUnknownError(Exception):
    """A rule needs the shape of a value that nobody knows; the argument names the value."""


@dataclass(frozen=True, eq=False)
class NodeView:
    """A node as the rules see it.

    Attributes:
        op: ``Conv``, or ``com.microsoft.FusedConv`` outside the standard domain.
        inputs, outputs: names; empty for an input left out.
        shapes: of every value that is known.
        attributes: plain Python values by name.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, Shape]
    attributes: dict[str, Any]

    def shape(self, place: int) -> Shape:
        """Return the shape of an input; raises ShapeUnknownError."""
        return self._known(self.inputs[place])

    def output(self) -> Shape:
        """Return the shape of the first output; raises ShapeUnknownError."""
        return self._known(self.outputs[0])

    def has(self, place: int) -> bool:
        """Whether the optional input is given."""
        return place < len(self.inputs) and bool(self.inputs[place])

    def _known(self, name: str) -> Shape:
        if name not in self.shapes:
            raise ShapeUnknownError(name)
        return self.shapes[name]


Rule = Callable[[NodeView], int]
RULES: dict[str, Rule] = {}

# Operators that multiply a lot and have no rule: they are named in the result, never passed over.
NOT_COUNTED = frozenset(
    {
        *("DFT", "STFT", "Det", "LinearAttention", "CausalConvWithState"),
        *("DisentangledAttention_TRT", "GRUUnit"),
        *("ai.onnx.ml.LinearClassifier", "ai.onnx.ml.LinearRegressor"),
        *("ai.onnx.ml.SVMClassifier", "ai.onnx.ml.SVMRegressor"),
    }
) | {
    f"com.microsoft.{op}"
    for op in (
        *("AttnLSTM", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"),
        *("CDist", "Inverse", "Rfft", "Irfft", "WordConvEmbedding"),
        *("DynamicSparseAttention", "PackedSparseAttentionIndexer", "SparseAttentionIndexer"),
        *("SparsePagedAttention", "GatedDeltaNet", "GatedRelativePositionBias"),
        *("EngramGate", "HyperConnectionPreMix", "HyperConnectionPostMix", "LinearAttentionGate"),
        *("FusedMatMulActivation", "GemmFastGelu", "GemmFloat8", "MatMulFpQ4", "MatMulInteger16"),
        *("MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight"),
        *("MatMulNBitsMlp", "MatMulNBitsQkv", "NhwcConv", "VarlenCausalConvWithState"),
        *("QOrderedAttention", "QOrderedLongformerAttention", "QOrderedMatMul"),
        *("EPContext", "Snpe"),
        "GroupQueryAttention",
        "PagedAttention",
        "LongformerAttention",
        "DecoderMaskedSelfAttention",
        "DecoderMaskedMultiHeadAttention",
        "DecoderAttention",
        "PackedAttention",
        "PackedMultiHeadAttention",
        "SparseAttention",
        "MoE",
        "QMoE",
        "MatMulBnb4",
        "SparseToDenseMatMul",
        "LinearAttention",
        "CausalConvWithState",
        "QLinearConvTranspose",
    )
}

# Operators that multiply 8-bit integers, though their sums are wider.
INT8_OPS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}) | {
    f"com.microsoft.{op}"
    for op in (
        "QLinearConv",
        "QLinearConvTranspose",
        "QGemm",
        "QAttention",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
    )
}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators; ``com.microsoft.`` and the like stand before the name."""

    def register(function: Rule) -> Rule:
        for op in ops:
            if op in RULES:
                raise ValueError(f"{op}: two rules")
            RULES[op] = function
        return function

    return register


def _convolution(weight: int) -> Rule:
    def count(node: NodeView) -> int:
        """Every output element takes one product per weight of its filter."""
        return math.prod(node.output()) * math.prod(node.shape(weight)[1:])

    return count


rule(
    "Conv",
    "ConvInteger",
    "com.microsoft.FusedConv",
    "com.microsoft.NhwcFusedConv",
    "com.microsoft.nchwc.Conv",
)(_convolution(1))
rule("DeformConv")(_convolution(1))
rule("QLinearConv", "com.microsoft.QLinearConv")(_convolution(3))


@rule("ConvTranspose", "com.microsoft.ConvTransposeWithDynamicPads")
def _transposed(node: NodeView) -> int:
    """Every input element meets each weight of its channel: (in, out / groups, *kernel)."""
    return math.prod(node.shape(0)) * math.prod(node.shape(1)[1:])


@rule("Gemm", "com.microsoft.FusedGemm", "com.microsoft.QGemm")
def _gemm(node: NodeView) -> int:
    rows_first = not node.attributes.get("transA", 0)
    return math.prod(node.output()) * node.shape(0)[1 if rows_first else 0]


@rule(
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "com.microsoft.MatMulIntegerToFloat",
    "com.microsoft.DynamicQuantizeMatMul",
)
def _matmul(node: NodeView) -> int:
    return math.prod(node.output()) * node.shape(0)[-1]


@rule("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
def _fused_matmul(node: NodeView) -> int:
    rank = len(node.shape(0))
    axis = rank - 1
    if node.attributes.get("transA", 0) and rank > 1:
        # transBatchA moves the first axis behind the others, so the last-but-one becomes first.
        axis = 0 if node.attributes.get("transBatchA", 0) else rank - 2
    return math.prod(node.output()) * node.shape(0)[axis]


@rule("com.microsoft.MatMulNBits")
def _matmul_bits(node: NodeView) -> int:
    rows = math.prod(node.shape(0)[:-1])
    return rows * int(node.attributes["K"]) * int(node.attributes["N"])


@rule("Einsum")
def _einsum(node: NodeView) -> int:
    """The product of all labels, once per operand after the first; sums alone cost nothing."""
    equation = node.attributes["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    operands = left.split(",")
    if len(operands) < 2:
        return 0
    sizes: dict[str, int] = {}
    for place, operand in enumerate(operands):
        for label, size in _labels(operand, node.shape(place)):
            sizes[label] = max(size, sizes.get(label, 1))
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        right = "".join(letter for letter in letters if letters.count(letter) == 1)
    contracted = any(label not in right for label in sizes if not label.startswith("."))
    return math.prod(sizes.values()) * (len(operands) - 1) if contracted else 0


def _labels(operand: str, shape: Shape) -> list[tuple[str, int]]:
    """Pair labels with sizes; axes under an ellipsis are numbered from the right."""
    before, dots, after = operand.partition("...")
    if not dots:
        return list(zip(before, shape, strict=True))
    hidden = shape[len(before) : len(shape) - len(after)]
    inner = [(f".{len(hidden) - place}", size) for place, size in enumerate(hidden)]
    tail = zip(after, shape[len(shape) - len(after) :], strict=True)
    return [*zip(before, shape, strict=False), *inner, *tail]


@rule("LSTM", "GRU", "RNN", "com.microsoft.DynamicQuantizeLSTM")
def _recurrent(node: NodeView) -> int:
    """Each step of each sequence takes every weight of W and R once, in each direction."""
    steps = math.prod(node.shape(0)[:2])
    return steps * (math.prod(node.shape(1)) + math.prod(node.shape(2)))


@rule("com.microsoft.Attention", "com.microsoft.QAttention")
def _attention_with_projection(node: NodeView) -> int:
    batch, length, _ = node.shape(0)
    in_channels, projected = node.shape(1)
    q_size, k_size, v_size = node.attributes.get("qkv_hidden_sizes") or (projected // 3,) * 3
    past = 8 if node.op.endswith("QAttention") else 4
    seen = length + (node.shape(past)[3] if node.has(past) else 0)
    projection = batch * length * in_channels * (q_size + k_size + v_size)
    return projection + batch * length * seen * (q_size + v_size)


@rule("com.microsoft.MultiHeadAttention")
def _multi_head_attention(node: NodeView) -> int:
    query = node.shape(0)
    batch, length = query[:2]
    # Packed: (batch, length, heads, 3, head size).
    q_size = query[2] if len(query) == 3 else query[2] * query[-1]
    seen = length
    if node.has(1):
        key = node.shape(1)
        seen = key[2] if len(key) == 4 else key[1]
    if node.has(6):
        seen += node.shape(6)[2]
    return batch * length * seen * (q_size + node.output()[-1])


@rule("Attention")
def _standard_attention(node: NodeView) -> int:
    """Both matrix products: queries by keys, and weights by values."""
    query, key, value = (node.shape(place) for place in range(3))
    if len(query) == 3:
        heads = int(node.attributes["q_num_heads"])
        kv_heads = int(node.attributes["kv_num_heads"])
        length, seen = query[1], key[1]
        head_size, value_size = query[2] // heads, value[2] // kv_heads
    else:
        heads, length, head_size = query[1:]
        seen, value_size = key[2], value[3]
    if node.has(4):
        seen += node.shape(4)[2]
    return query[0] * heads * length * seen * (head_size + value_size)
