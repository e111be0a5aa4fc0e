"""Control flow whose course is known."""

from __future__ import annotations

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.registry import operator


@operator("If")
def branch(call: Call) -> Results:
    """The branch that is always taken."""
    condition = call.known(0)
    if condition is None:
        raise call.unsupported("whose condition depends on the data")
    name = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
    return call.run_graph(call.attribute(name))
