"""What a pass declares is enforced: it gets what it needs and changes only what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import compressc
from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.contract.enforcement import check_changes, check_needs
from compressc.coupling.graph import couple
from compressc.errors import DataError, PassError, PlanError
from compressc.goal import Goal
from compressc.plan import Plan
from compressc.program import Program
from compressc.settings import Settings
from tests.noise_tasks import Noise
from tests.small_networks import TwoConvs, seeded_program


@pytest.fixture(scope="module")
def program() -> Program:
    return seeded_program(TwoConvs)


def declaring(**declared: Any) -> Pass:
    @dataclass(frozen=True)
    class Declaring(Pass):
        name: ClassVar[str] = "declaring"
        declares: ClassVar[Declaration] = Declaration(**declared)

        def __call__(self, program: Program, context: Context) -> Program:
            return program

    return Declaring()


def trimmed(program: Program) -> Program:
    group = next(g for g in couple(program).groups if g.pinned is None)
    return program.with_plan(Plan(keep={group.name: np.arange(group.size) > 0}))


def sparse(program: Program) -> Program:
    name = next(n for n in program.state() if n.endswith("weight"))
    mask = np.ones(program.state()[name].shape, dtype=bool)
    mask.flat[0] = False
    return program.with_plan(Plan(zero={name: mask}))


def nudged(program: Program) -> Program:
    return program.with_state({name: tensor + 1 for name, tensor in program.state().items()})


@pytest.mark.parametrize(
    ("change", "part"), [(trimmed, "keep"), (sparse, "zero"), (nudged, "weights")]
)
def test_a_change_that_is_not_declared_is_a_fault_of_the_pass(
    program: Program, change: Callable[[Program], Program], part: str
) -> None:
    others = frozenset({"keep", "zero", "rank", "weights"} - {part})
    with pytest.raises(PassError, match=rf"declaring changed {part}, .*Declaring.declares"):
        check_changes(declaring(changes=others), program, change(program))
    check_changes(declaring(changes=frozenset({part})), program, change(program))


def test_another_graph_has_to_be_declared(program: Program) -> None:
    site = next(iter(couple(program).factor_sites.sites))
    chain = compressc.lower(program.with_plan(Plan(rank={site: (1, 1)})))
    with pytest.raises(PassError, match="changed graph, weights"):
        check_changes(declaring(changes=frozenset()), program, chain)
    with pytest.raises(PassError, match="changed graph, which"):
        check_changes(declaring(changes=frozenset({"weights"})), program, chain)
    check_changes(declaring(changes=frozenset({"graph"})), program, chain)


def test_weights_that_were_only_copied_are_no_change(program: Program) -> None:
    copied = program.with_state({name: t.clone() for name, t in program.state().items()})
    check_changes(declaring(changes=frozenset()), program, copied)


def test_needs_are_met_before_the_pass_runs(program: Program) -> None:
    class Samples:
        metric_name = "none"

        def evaluate(self, module: torch.nn.Module) -> float:
            return 0.0

        def calibration_batches(self, samples: int, seed: int) -> Any:
            return iter(())

    bare, samples = Context(), Context(task=Samples())
    whole = Context(task=Noise(dtype=torch.float32, most=4))
    check_needs(declaring(needs="nothing"), program, bare)
    with pytest.raises(DataError, match="needs samples; give --data"):
        check_needs(declaring(needs="samples"), program, bare)
    check_needs(declaring(needs="samples"), program, samples)
    with pytest.raises(DataError, match="lacks train_batches"):
        check_needs(declaring(needs="labels"), program, samples)
    check_needs(declaring(needs="labels"), program, whole)
    with pytest.raises(PlanError, match="not applied yet"):
        check_needs(declaring(runs_on="lowered"), trimmed(program), bare)


def test_the_runner_enforces_it(program: Program) -> None:
    @dataclass(frozen=True)
    class Sneaky(Pass):
        name: ClassVar[str] = "sneaky"

        def __call__(self, program: Program, context: Context) -> Program:
            return nudged(program)

    with pytest.raises(PassError, match="sneaky changed weights"):
        compressc.compress(program, goal=Goal(), passes=Sneaky(), settings=Settings(measure=False))
