"""Lowering: a Program with a pending plan becomes a smaller Program with none."""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from compressc.coupling.graph import couple
from compressc.graphs.trainable import share_module
from compressc.lowering.plan_application import apply_plan
from compressc.plan import Plan
from compressc.program import Program


def lower(program: Program) -> Program:
    """Physically remove what the plan drops.

    Parameters and buffers are sliced, baked sizes rewritten, masked weights set to zero, branches
    that were not chosen dropped; then the sliced layers that have ranks are factorised. The result
    computes what ``masked(program)`` computes.

    Raises:
        PlanError: if the plan does not fit.
    """
    plan = program.plan
    module = share_module(program.graph_module)
    apply_plan(module, couple(program), plan, follow_values=True)
    module.graph.eliminate_dead_code(is_impure_node=_keep_node)
    module.graph.lint()
    return replace(
        program,
        graph_module=fx.GraphModule(module, module.graph),
        plan=Plan(),
        sparse_weights=_sparse_weights(program, module),
        _derived={},
    )


def _sparse_weights(program: Program, module: fx.GraphModule) -> tuple[str, ...]:
    """Return the weights that carry zeros on purpose, from this plan and from earlier ones."""
    masked = [name for name, mask in program.plan.zero.items() if not mask.all()]
    left = dict(module.named_parameters(remove_duplicate=False))
    names = dict.fromkeys((*program.sparse_weights, *masked))
    return tuple(name for name in names if name in left)


def _keep_node(node: fx.Node) -> bool:
    """Lowering drops only constants whose last reader is gone."""
    return node.op != "get_attr"
