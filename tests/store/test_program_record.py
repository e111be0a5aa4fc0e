"""Programs that passes made come back as they were, the graph included."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import CompresscError
from compressc.passes.dead_channels import DeadChannels
from compressc.plan import Plan
from compressc.program import Constraints, HistoryLine, Program
from compressc.store.graph_record import describe_graph, is_same_graph, rebuild_graph
from compressc.store.identity import identify
from compressc.store.program_record import apply_change, describe_change
from compressc.store.records import Record
from tests.passes import test_dead_channels
from tests.passes.training_kit import make_program
from tests.strategies import BLOCKS, VARIANTS


def sent(before: Program, after: Program) -> Program:
    """Return a program that went through bytes."""
    return apply_change(before, Record.from_bytes(describe_change(before, after).to_bytes()))


def groups_of(program: Program) -> list[tuple[str, int, str | None]]:
    return [(group.name, group.size, group.pinned) for group in couple(program).groups]


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_graphs_come_back_node_for_node(name: str) -> None:
    for variant in range(VARIANTS[name]):
        torch.manual_seed(0)
        block = nn.Sequential(nn.Conv2d(3, 8, 1), BLOCKS[name](8, variant))
        program = compressc.capture(block.eval(), (torch.randn(2, 3, 8, 8),))
        document = json.loads(json.dumps(describe_graph(program.graph_module)))
        module = rebuild_graph(document, program.state(), program.graph_module)
        assert is_same_graph(module, program.graph_module)
        again = replace(program, graph_module=module, _derived={})
        assert groups_of(again) == groups_of(program)
        assert identify("test", program=again) == identify("test", program=program)


def test_decisions_weights_and_remarks_come_back() -> None:
    program = make_program()
    plan = Plan(keep={"a": np.arange(8) < 5}, zero={"fc.weight": np.arange(48).reshape(4, 12) > 3})
    state = {name: tensor + 1 for name, tensor in program.state().items()}
    step = HistoryLine("mine", {"a": 1}, 2.5, ("hm",), {"found_ms": 3.0})
    rules = Constraints(keep=("fc*",), multiple_of=1)
    after = program.with_constraints(rules).with_state(state).with_plan(plan).with_line(step)
    after = replace(after, sparse_weights=("fc.weight",))
    again = sent(program, after)
    assert again.plan == plan
    assert identify("test", program=again) == identify("test", program=after)
    assert again.history == after.history
    # A plan alone leaves the graph as it is: what is derived from it stays known.
    assert sent(program, program.with_plan(plan)).graph_module is program.graph_module


def test_a_graph_that_a_pass_changed_comes_back() -> None:
    program = test_dead_channels.build(torch.float32)
    after = DeadChannels()(program, Context())
    assert after.graph_module.code != program.graph_module.code
    again = sent(program, after)
    assert identify("test", program=again) == identify("test", program=after)
    x = torch.randn(3, 3, 8, 8)
    lowered, other = compressc.lower(after), compressc.lower(again)
    assert torch.equal(lowered.graph_module(x), other.graph_module(x))
    assert lowered.graph_module.code == other.graph_module.code


def test_a_factorised_graph_comes_back() -> None:
    program = make_program()
    plan = Plan(keep={"a": np.arange(8) < 5}, rank={"b": (4, 3), "fc": (2,)})
    after = compressc.lower(program.with_plan(plan))
    again = sent(program, after)
    assert identify("test", program=again) == identify("test", program=after)
    assert cost_of(again) == cost_of(after)
    assert [layer.name for layer in couple(again).layers(Plan())] == [
        layer.name for layer in couple(after).layers(Plan())
    ]
    learning = [p.requires_grad for p in again.graph_module.parameters()]
    assert learning == [p.requires_grad for p in after.graph_module.parameters()]


def test_another_model_is_no_change_of_this_one() -> None:
    program = make_program()
    with pytest.raises(ValueError, match="inputs or outputs"):
        describe_change(program, test_dead_channels.build(torch.float64))


def print_it(x: torch.Tensor) -> torch.Tensor:
    return x


def test_a_graph_that_calls_anything_else_is_not_kept() -> None:
    program = test_dead_channels.build(torch.float32)
    after = DeadChannels()(program, Context())
    node = next(node for node in after.graph_module.graph.nodes if "relu" in node.name)
    document = describe_graph(after.graph_module)
    entry = next(entry for entry in document["nodes"] if entry["name"] == node.name)
    for harmful in ("posix.system", "torch.load", "torch.ops.aten.from_file.default", "math.pi"):
        entry["target"] = harmful
        with pytest.raises(CompresscError):
            rebuild_graph(document, after.state(), program.graph_module)
    with after.graph_module.graph.inserting_after(node):
        foreign = after.graph_module.graph.call_function(print_it, (node,))
    node.replace_all_uses_with(foreign, delete_user_cb=lambda user: user is not foreign)
    after.graph_module.recompile()
    with pytest.raises(CompresscError, match="print_it"):
        sent(program, after)
