"""Every operation with a rule has a case, and every case prunes as its mask."""

from __future__ import annotations

from typing import Any

import pytest

from compressc.coupling.graph import couple
from compressc.program import Program
from compressc.rules.convolution import convolution as conv_rule
from compressc.rules.elementwise import elementwise
from compressc.rules.propagation import load_rules
from compressc.rules.registry import RULES
from tests.graph_kit import Kit
from tests.oracle import check_theorem
from tests.plans import random_plan, smallest_plan
from tests.rule_cases import kept as _kept
from tests.rule_cases import layers as _layers
from tests.rule_cases import places as _places
from tests.rule_cases import reductions as _reductions
from tests.rule_cases import shapes as _shapes
from tests.rule_cases.catalogue import CASES, Case
from tests.rule_cases.elementwise import batches, computes_tensors, graph_of, name_of

load_rules()

# Importing a module of cases registers them.
FAMILIES = (_kept, _layers, _places, _reductions, _shapes)

ELEMENTWISE = sorted(
    (t for t, found in RULES.items() if found is elementwise and computes_tensors(t)), key=name_of
)


def _reasons(program: Program, layer: str) -> list[str | None]:
    """Return why each group of a layer's output channels is pinned, None where it is free."""
    found = [
        group.pinned
        for group in couple(program).groups
        if any(m.tensor == f"{layer}.weight" and m.role == "out" for m in group.members)
    ]
    assert found, f"no ChannelGroup holds the output channels of '{layer}'"
    return found


def test_every_rule_has_a_case() -> None:
    scalars = {t for t, found in RULES.items() if found is elementwise and not computes_tensors(t)}
    covered = {case.target for case in CASES} | set(ELEMENTWISE) | scalars
    missing = sorted(str(target) for target in set(RULES) - covered)
    assert not missing, f"operations with a rule but without a case: {', '.join(missing)}"


def test_a_rule_without_a_case_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "made up", conv_rule)
    with pytest.raises(AssertionError, match="made up"):
        test_every_rule_has_a_case()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    kit = Kit(dynamic_batch=case.dynamic_batch)
    outputs = case.build(kit, case.target)
    program = kit.program(*(outputs if isinstance(outputs, tuple) else (outputs,)))
    assert any(node.target == case.target for node in program.graph_module.graph.nodes)
    for layer in case.prunes:
        assert None in _reasons(program, layer)
    for layer in case.pins:
        assert None not in _reasons(program, layer)
    coupling = couple(program)
    check_theorem(program, random_plan(coupling, 0))
    lowered = check_theorem(program, smallest_plan(coupling), informative=False)
    for layer in case.prunes:
        before, after = (
            p.graph_module.get_parameter(f"{layer}.weight").numel() for p in (program, lowered)
        )
        assert after < before, f"nothing of '{layer}' was removed"


@pytest.mark.parametrize("targets", batches(ELEMENTWISE), ids=lambda t: name_of(t[0]))
def test_elementwise(targets: list[Any]) -> None:
    program, layers = graph_of(targets)
    for target, names in layers:
        for name in names:
            assert _reasons(program, name) == [None], f"{target} pins its operand"
    check_theorem(program, random_plan(couple(program), 1))
