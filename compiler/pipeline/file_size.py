"""A bound on the size of the file, as one on the weights that passes decide about."""

from __future__ import annotations

from dataclasses import replace

from compressc.errors import GoalError
from compressc.goal import Bound, Goal
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.integer_precision import measure_int8_size

# What a weight takes in float32, in bytes; in int8 it takes one.
_FLOAT_BYTES = 4


def goal_for_passes(artifact: Artifact) -> Goal:
    """Turn a bound on the file into one on the weights in float32: the graph's own bytes stay.

    In int8 most weights take a quarter; scales, biases and what keeps its precision are taken to
    stay as they are, so that the file ends below the bound rather than above.

    Raises:
        GoalError: if the graph alone takes more than the file may.
    """
    goal, original_onnx = artifact.job.goal, artifact.original_onnx
    if not isinstance(goal.size_bytes, Bound) or original_onnx is None:
        return goal
    weight_bytes = artifact.full_cost.size_bytes
    written, stored, kept = original_onnx.ByteSize(), weight_bytes, 0
    in_int8 = None
    if artifact.job.settings.int8 is not None:
        with artifact.clock.stage("sizing the original in int8"):
            in_int8 = measure_int8_size(original_onnx, artifact.original)
        written, stored = in_int8.file_bytes, in_int8.weight_bytes
        kept = max(0, weight_bytes - _FLOAT_BYTES * stored)
    # Folding and shape rewrites move a little between graph and weights.
    graph_bytes = kept + 1.05 * max(0, written - stored - kept) + 4096
    allowed = goal.size_bytes.absolute(original_onnx.ByteSize()) - graph_bytes
    if allowed <= 0:
        what = "graph and scales of int8 take" if in_int8 else "graph alone takes"
        raise GoalError(
            f"the {what} about {graph_bytes:.0f} bytes of the ONNX file, more than the size "
            "target; ask for a larger file"
        )
    if in_int8 is not None:
        allowed = kept + _FLOAT_BYTES * allowed
    return replace(goal, size_bytes=Bound(allowed, relative=False))
