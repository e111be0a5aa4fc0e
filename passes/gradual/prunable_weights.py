"""Which weights zeros may go into."""

from __future__ import annotations

from fnmatch import fnmatchcase

from compressc.coupling.graph import couple
from compressc.errors import PlanError
from compressc.layer_names import owner_of
from compressc.program import Program


def list_prunable_weights(
    program: Program, *, skip_first_last: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the weights of two or more axes that are multiplied with, in graph order.

    Depthwise ones count as well. Layers under ``--keep`` stay dense.

    Returns:
        Their names, and remarks on those that are left out.

    Raises:
        PlanError: if none is left.
    """
    propagation = couple(program).propagation
    names = dict.fromkeys(
        propagation.canonical[term.weight]
        for term in propagation.records.macs
        if propagation.canonical.get(term.weight)
    )
    chosen = [
        name
        for name in names
        if propagation.is_parameter(name) and propagation.tensors[name].dim() > 1
    ]
    notes: list[str] = []
    if skip_first_last and len(chosen) > 2:
        ends = f"{owner_of(chosen[0])} and {owner_of(chosen[-1])}"
        notes.append(f"{ends} stay dense: first and last")
        chosen = chosen[1:-1]
    for name in list(chosen):
        patterns = [p for p in program.constraints.keep if fnmatchcase(owner_of(name), p)]
        if patterns:
            notes.append(f"{owner_of(name)} stays dense: kept by --keep {patterns[0]}")
            chosen.remove(name)
    if not chosen:
        raise PlanError(
            "there is no weight to put zeros into: "
            + ("; ".join(notes) or "the model has no convolution or linear layer")
        )
    return tuple(chosen), tuple(notes)
