"""Optimization of the exported graph by onnxscript: constants, batch norms, leftovers of tracing.

This is ``onnxscript.optimizer.optimize_ir`` without its one rule of quadratic time: ``SlicesSplit``
looks at every pair of nodes, two minutes for a network of 3,000 nodes, to merge two slices that
runtimes are as fast at.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common_passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter import onnx_fusions
from onnxscript.rewriter.rules import common as rules

_RULES = (
    rules.no_op_cast_rule,
    rules.cast_cast_rule,
    rules.mul_by_1_rule,
    rules.add_0_rule,
    rules.sub_0_rule,
    rules.div_by_1_rule,
    rules.dropout_zero_rule,
    rules.dropout_inference_rule,
    rules.one_reshape_matmul_reshape_rule,
    rules.two_reshapes_matmul_reshape_rule,
    rules.cast_constant_of_shape_rule,
    rules.cast_constant_of_shape_without_value_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.materialize_reshape_shape_rule,
    rules.min_min_rule,
    rules.max_max_rule,
    rules.min_max_rule,
    rules.max_min_rule,
    rules.successive_clip_relu_rule,
    rules.successive_relu_clip_rule,
    rules.successive_relu_rule,
    rules.successive_clip_rule,
    rules.no_op_expand_rule,
    rules.flatten_to_reshape_rule,
    rules.reshape_reshape_rule,
    rules.no_op_transpose_rule,
    rules.transpose_transpose_rule,
    rules.unsqueeze_unsqueeze_rule,
    rules.squeeze_reshape_1d_rule,
    rules.no_op_dynamic_scatter_nd_rule,
    rules.no_op_static_scatter_nd_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.fuse_batchnorm_into_conv_rule,
    rules.fuse_batchnorm_into_conv_transpose_rule,
    rules.fuse_batchnorm_into_gemm_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.remove_optional_bias_from_conv_transpose_rule,
    rules.remove_optional_bias_from_gemm_rule,
)
_ROUNDS = 2


def optimize(model: ir.Model, input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """Simplify a model as the exporter left it and name what goes in and out, in place.

    Args:
        model: written by ``torch.onnx.export(optimize=False)`` without names.
        input_names: in order.
        output_names: in order. An output that is an input or another output, too, gets a node of
            its own.
    """
    common_passes.InlinePass()(model)
    for _ in range(_ROUNDS):
        folded = optimizer.fold_constants(model)
        rewritten = rewriter.RewritePass(_RULES)(model)
        common_passes.RemoveUnusedNodesPass()(model)
        common_passes.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        common_passes.RemoveUnusedOpsetsPass()(model)
        if not folded.modified and not rewritten.modified:
            break
    for rewrite in (
        common_passes.RemoveUnusedNodesPass(),
        common_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common_passes.LiftSubgraphInitializersToMainGraphPass(),
        common_passes.DeduplicateInitializersPass(),
        common_passes.CommonSubexpressionEliminationPass(),
        common_passes.OutputFixPass(),
    ):
        rewrite(model)
    onnx_fusions.fuse(model)
    _rename(model.graph, (*input_names, *output_names))
    common_passes.NameFixPass()(model)


def _rename(graph: ir.Graph, names: Sequence[str]) -> None:
    ends = (*graph.inputs, *graph.outputs)
    new_names = dict(zip(ends, names, strict=True))
    for node in graph:
        for value in node.outputs:
            if value.name in names and value not in new_names:
                value.name = f"{value.name}_inner"
    for value, name in new_names.items():
        value.name = name
