"""Building a search space: which coordinates a program has for some methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from compressc.array_types import FloatArray, IntArray
from compressc.coupling.graph import couple
from compressc.coupling.weight_masks import contracted_weights
from compressc.errors import PlanError
from compressc.layer_names import owner_of
from compressc.passes.spaces.coordinates import (
    METHODS,
    SVD_STEPS,
    TUCKER_STEPS,
    Coordinate,
    Method,
)
from compressc.passes.spaces.rank_choice import full_width
from compressc.passes.spaces.search_space import SearchSpace
from compressc.passes.widths.ladders import Ladder, build_ladder
from compressc.program import Program


def build_space(
    program: Program, methods: Sequence[Method], importance: Mapping[str, FloatArray]
) -> SearchSpace:
    """Return the space of some methods; what the constraints keep is no part of it.

    Args:
        program: the program.
        methods: what to search; their order does not matter.
        importance: of the units of every group that is not pinned; read for "ps" only.

    Raises:
        PlanError: if nothing of the program can be compressed so.
    """
    chosen = tuple(method for method in METHODS if method in methods)
    ladders = _build_ladders(program, importance) if "ps" in chosen else {}
    weights = _list_weights(program) if "pn" in chosen else []
    coordinates = [Coordinate(name, "ps") for name in ladders]
    coordinates += [Coordinate(name, "pn") for name in weights]
    coordinates += _list_rank_coordinates(program, chosen)
    if not coordinates:
        raise PlanError(
            f"the search finds nothing to compress by {', '.join(chosen)}; `compressc inspect` "
            "shows what is pinned and why; give other --spaces or a smaller --multiple-of"
        )
    orders = {name: _order_by_size(program, name) for name in weights}
    return SearchSpace(program, chosen, tuple(coordinates), ladders, orders)


def _build_ladders(program: Program, importance: Mapping[str, FloatArray]) -> dict[str, Ladder]:
    """Return the ladders of the groups that may shrink."""
    ladders = {
        group.name: build_ladder(group, importance[group.name])
        for group in couple(program).groups
        if group.pinned is None
    }
    return {name: ladder for name, ladder in ladders.items() if ladder.steps}


def _list_weights(program: Program) -> list[str]:
    """Return the weights that may get zeros."""
    return [
        name
        for name in contracted_weights(couple(program))
        if not _is_kept(program, owner_of(name)) and owner_of(name) not in program.plan.rank
    ]


def _order_by_size(program: Program, name: str) -> IntArray:
    """Return the place of each weight by size, smallest first, in the weight's shape."""
    tensor = couple(program).propagation.tensors[name].detach()
    sizes = tensor.abs().flatten().cpu().numpy()
    order = np.empty(sizes.size, dtype=np.int64)
    order[np.argsort(sizes, kind="stable")] = np.arange(sizes.size)
    return order.reshape(tuple(tensor.shape))


def _list_rank_coordinates(program: Program, methods: Sequence[Method]) -> list[Coordinate]:
    coordinates: list[Coordinate] = []
    for name, site in couple(program).factor_sites.sites.items():
        inputs, outputs = full_width(program, site)
        method: Method = "svd" if site.modes == 1 else "tucker"
        smallest = (1,) * site.modes
        if (
            method not in methods
            or _is_kept(program, name)
            or site.weight in program.plan.zero
            or not site.saves(smallest, inputs, outputs)
        ):
            continue
        if method == "svd":
            coordinates.append(Coordinate(name, method, min(SVD_STEPS, inputs, outputs)))
            continue
        coordinates.append(Coordinate(name, method, min(TUCKER_STEPS, outputs), "out"))
        if inputs > 1:
            coordinates.append(Coordinate(name, method, min(TUCKER_STEPS, inputs), "in"))
    return coordinates


def _is_kept(program: Program, layer: str) -> bool:
    return any(fnmatchcase(layer, pattern) for pattern in program.constraints.keep)
