"""Remarks on factorised layers: what each costs and what was lost."""

from __future__ import annotations

from collections.abc import Iterable

from compressc.coupling.graph import couple
from compressc.factors.low_rank import factor_weight, relative_error
from compressc.passes.lowrank.menus import slice_weight
from compressc.program import Program


def describe_ranks(program: Program, layers: Iterable[str]) -> tuple[str, ...]:
    """Return a line per layer: its ranks, its share of its MACs, the error of its weight.

    Args:
        program: its pending plan factorises the layers.
        layers: by name.
    """
    lines = []
    for name in layers:
        ranks, site = program.plan.rank[name], couple(program).factor_sites.site(name)
        weight = slice_weight(program, site)
        outputs, inputs = weight.shape[:2]
        error = relative_error(weight, factor_weight(weight, ranks))
        share = site.macs(ranks).at(inputs, outputs) / site.whole_macs(inputs, outputs)
        shown = " x ".join(str(r) for r in ranks)
        lines.append(
            f"{name}: {site.method}, rank {shown}, {share:.0%} of its MACs, "
            f"relative error {error:.2g}"
        )
    return tuple(lines)
