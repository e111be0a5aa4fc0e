"""What thresholds are swept for, by the settings and the goal."""

from __future__ import annotations

from compressc.bounds import COST_WORDS, Bounds
from compressc.coupling.graph import couple
from compressc.goal import Bound, Goal
from compressc.passes.snn.aims import Aim
from compressc.passes.snn.bounds_aim import BoundsAim
from compressc.passes.snn.settings import SnnSettings
from compressc.passes.snn.sparsity_aim import SparsityAim
from compressc.passes.snn.switched_layers import SwitchedLayer
from compressc.plan import Plan
from compressc.program import Program

# Share of zeros that is aimed at where trained weights are switched and nobody says how many.
_SPARSITY = 0.8


def choose_aims(
    program: Program, layers: tuple[SwitchedLayer, ...], settings: SnnSettings, goal: Goal
) -> tuple[tuple[Aim, ...], tuple[str, ...]]:
    """Return what is aimed at, and remarks on it.

    Bounds other than on parameters that neurons alone cannot meet are left to other passes.

    Args:
        program: that is switched.
        layers: of it.
        settings: may ask for a sparsity.
        goal: its bounds.

    Raises:
        GoalError: if the parameters asked for are out of reach.
    """
    what_on = "the factors" if settings.threshold == "factors" else "the switched weights"
    aims: list[Aim] = []
    remarks: list[str] = []
    original = couple(program).cost(Plan())
    least = BoundsAim(program, Bounds({}, original), layers).least
    reached: dict[str, Bound] = {}
    for what, bound in goal.bounds.items():
        bounds = Bounds({what: bound}, original)
        if bounds.hold(least):
            reached[what] = bound
        elif what == "params":
            raise bounds.out_of_reach(
                least, "switching neurons off", advice=("give --sparsity for zeros",)
            )
        else:
            remarks.append(
                f"the goal in {COST_WORDS[what]} is left to other passes: the neurons of switched "
                "layers have too few"
            )
    if reached:
        aims.append(BoundsAim(program, Bounds(reached, original), layers))
        asked = " and ".join(COST_WORDS[what] for what in reached)
        remarks.append(
            f"a threshold on {what_on} was swept to the goal in {asked}, neuron by neuron (not in "
            "the paper)"
        )
    sparsity = settings.sparsity
    if sparsity is None:
        sparsity = 0.0 if settings.from_scratch or reached else _SPARSITY
    if sparsity:
        aims.append(SparsityAim(program, sparsity, layers))
        remarks.append(
            f"a threshold on {what_on} was swept to a sparsity of {sparsity:g} (not in the paper)"
        )
    return tuple(aims), tuple(remarks)
