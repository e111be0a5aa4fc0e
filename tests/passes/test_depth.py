"""Depth: which blocks leave, how far that goes, and that calibrate makes up for them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.choices.blocks import LEFT_OUT
from compressc.contract.context import Context
from compressc.coupling.graph import cost_of, couple
from compressc.errors import ChoiceError, GoalError
from compressc.goal import Goal
from compressc.passes.blocks.disagreement import Disagreement
from compressc.passes.blocks.removal import Removal, order_removals, put_back
from compressc.passes.blocks.succession_errors import SuccessionErrors
from compressc.passes.depth.pruning import Depth
from compressc.passes.magnitude import Magnitude
from compressc.passes.reconstruction.calibration import Calibration
from compressc.passes.reconstruction.refinement import RefinementSettings, refine_blocks
from compressc.passes.reconstruction.succession import find_successors
from compressc.passes.surgeon import Surgeon
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.proof.equivalence import prove
from compressc.reporting.page import render_page
from compressc.settings import Settings
from compressc.tasks.unlabeled import UnlabeledTask
from tests.noise_tasks import Noise


class Net(nn.Module):
    """Blocks of which the layer in front can take over the first, and not the others.

    The first adds a linear map of what the stem makes, the others bend their input, the third only
    a little.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.linear, self.bent = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.a, self.b = nn.Conv2d(8, 24, 3, padding=1), nn.Conv2d(24, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.last, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x))
        x = x + self.linear(x)
        y = self.norm(self.b(torch.tanh(self.a(x))))
        if self.inplace:
            y += x
        else:
            y = x + y
        x = y + 0.2 * torch.tanh(self.bent(4 * self.last(y)))
        return self.head(F.relu(x).mean((2, 3)))


def make(inplace: bool = False) -> Program:
    torch.manual_seed(0)
    net = Net(inplace).double().eval()
    for norm in (net.stem_norm, net.norm):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
    return compressc.capture(net, (torch.randn(2, 3, 8, 8, dtype=torch.double),))


def context(**bounds: float) -> Context:
    return Context(Goal(**bounds), task=Noise())


def names(program: Program) -> list[str]:
    return [block.name for block in couple(program).branches.blocks]


def left_out(program: Program) -> set[str]:
    return {name for name, index in program.plan.choice.items() if index == LEFT_OUT}


def error(program: Program, original: Program) -> float:
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(99), dtype=torch.double)
    with torch.no_grad():
        whole = original.graph_module(x)
        missed = compressc.lower(program).graph_module(x) - whole
        return float((missed.square().mean() / (whole - whole.mean(0)).square().mean()).sqrt())


def calibrate(program: Program, **settings: object) -> Program:
    closed = RefinementSettings(refine_steps=0)
    return Calibration(refinement=closed, **settings)(program, context())


def batches() -> list[tuple[Tensor, ...]]:
    return list(Noise().calibration_batches(128, 0))


def measured(program: Program) -> SuccessionErrors:
    return SuccessionErrors(program, batches(), 1e-9, lambda *_: None)


@pytest.mark.parametrize("inplace", [False, True])
def test_errors_are_what_the_layer_in_front_cannot_make(inplace: bool) -> None:
    program = make(inplace)
    assert names(program) == ["linear", "a..b", "last..bent"]
    first, second, third = measured(program)([{name: LEFT_OUT} for name in names(program)])
    assert first < 1e-6
    assert second > 0.05
    assert 1e-6 < third < second


def test_a_run_of_blocks_has_one_layer_in_front() -> None:
    program = make()
    graph, branches = program.graph_module.graph, couple(program).branches
    last = branches.blocks[-1]
    by_name = {node.name: node for node in graph.nodes}
    (alone,) = find_successors(graph, branches, {"last..bent": LEFT_OUT})
    assert "b.weight" in {str(s.target) for s in by_name[alone.layer].all_input_nodes}
    assert (alone.target, alone.shortcut) == (last.sum, branches.blocks[1].skip)
    assert alone.has_norm
    (run,) = find_successors(graph, branches, dict.fromkeys(names(program), LEFT_OUT))
    assert "stem.weight" in {str(s.target) for s in by_name[run.layer].all_input_nodes}
    assert (run.target, run.shortcut) == (last.sum, None)
    # What the run loses is more than what its blocks lose one by one.
    alone, together = measured(program)(
        [{"a..b": LEFT_OUT}, {"a..b": LEFT_OUT, "last..bent": LEFT_OUT}]
    )
    assert together != alone


@pytest.mark.parametrize("inplace", [False, True])
def test_what_the_layer_in_front_can_make_is_made_up_for_exactly(inplace: bool) -> None:
    program = make(inplace)
    pruned = program.with_plan(Plan(choice={"linear": LEFT_OUT}))
    assert error(pruned, program) > 0.1
    repaired = calibrate(pruned, ridge=1e-12, samples=256)
    assert error(repaired, program) < 1e-6
    assert prove(repaired, compressc.lower(repaired)).passed


@pytest.mark.parametrize("inplace", [False, True])
def test_refinement_learns_from_the_blocks_that_left(inplace: bool) -> None:
    program = make(inplace)
    pruned = program.with_plan(Plan(choice={"linear": LEFT_OUT, "a..b": LEFT_OUT}))
    closed = calibrate(pruned)
    assert error(closed, program) < 0.5 * error(pruned, program)
    state = {name: tensor.clone() for name, tensor in closed.state().items()}
    samples = list(Noise().calibration_batches(1024, 0))
    settings = RefinementSettings(refine_steps=300)
    teacher = program.graph_module
    first, *_ = refine_blocks(closed, teacher, samples, settings, state, 0, lambda *_: None)
    # The block in front of the head holds both blocks that left; the teacher's still has them.
    assert first.after < 0.5 * first.before
    assert error(closed.with_state(state), program) < error(closed, program)


def test_calibrate_leaves_the_weights_of_blocks_that_left() -> None:
    program = make()
    repaired = calibrate(program.with_plan(Plan(choice={"a..b": LEFT_OUT})))
    before, after = program.state(), repaired.state()
    for name in ("a.weight", "b.weight", "norm.running_mean"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["last.weight"], after["last.weight"])


@pytest.mark.parametrize("by", ["repair", "agreement"])
def test_the_cheapest_loss_leaves_first(by: str) -> None:
    program = make()
    decided = Depth(by=by, samples=128)(program, context(macs=0.975))
    assert left_out(decided) == ({"linear"} if by == "repair" else {"last..bent"})
    assert "1 of 3 blocks are left out" in decided.history[-1].notes[0]
    assert decided.history[-1].numbers["blocks_left_out"] == 1.0


@pytest.mark.parametrize("bound", ["macs", "params", "size_bytes"])
def test_every_bound_is_met(bound: str) -> None:
    program = make()
    full = couple(program).cost(Plan())
    decided = Depth(samples=64)(program, context(**{bound: 0.5}))
    assert getattr(cost_of(decided), bound) <= 0.5 * getattr(full, bound)
    assert prove(decided, compressc.lower(decided)).passed


def test_how_far_it_goes_is_said() -> None:
    text = r"macs target 0.01 cannot be reached: leaving out all 3 blocks .* only down to 0\.\d+"
    for entry in (Depth(), Depth().rehearsal()):
        with pytest.raises(GoalError, match=text) as caught:
            entry(make(), context(macs=0.01))
        assert "\n" not in str(caught.value)


def test_nothing_to_leave_out_or_to_aim_at_is_a_line() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 2)).double().eval()
    program = compressc.capture(plain, (torch.randn(2, 3, 8, 8, dtype=torch.double),))
    with pytest.raises(ChoiceError, match="has no residual block"):
        Depth()(program, context(macs=0.5))
    with pytest.raises(GoalError, match="nothing to aim at"):
        Depth()(make(), context())
    kept = make().with_constraints(Constraints(keep=("*",)))
    with pytest.raises(ChoiceError, match=r"every residual block has to stay \(kept by --keep"):
        Depth()(kept, context(macs=0.5))


@pytest.mark.parametrize("settings", [{"samples": 0}, {"ridge": 0.0}, {"measurements": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(GoalError, match=next(iter(settings))):
        Depth(**settings)
    with pytest.raises(GoalError, match="repair or agreement"):
        Depth(by="size")


def test_a_kept_layer_keeps_its_block() -> None:
    program = make().with_constraints(Constraints(keep=("linear", "a")))
    decided = Depth(samples=64)(program, context(macs=0.97))
    assert left_out(decided) == {"last..bent"}


def test_disagreement_is_the_change_of_the_outputs() -> None:
    program = make()
    errors = Disagreement(program, batches(), lambda *_: None)
    nothing, linear = errors([{}, {"linear": LEFT_OUT}])
    assert nothing == 0.0
    with torch.no_grad():
        pairs = [
            (
                compressc.lower(program.with_plan(Plan(choice={"linear": LEFT_OUT}))).graph_module(
                    *batch
                ),
                program.graph_module(*batch),
            )
            for batch in batches()
        ]
    changed = sum(float((a - b).square().mean()) for a, b in pairs) / len(pairs)
    spread = sum(float((b - b.mean(0)).square().mean()) for _, b in pairs) / len(pairs)
    assert linear == pytest.approx(changed / spread)


def test_blocks_leave_in_the_order_of_loss_per_saving() -> None:
    blocks = couple(make()).branches.blocks
    first, second, third = (block.name for block in blocks)
    worth, cost = {first: 4.0, second: 3.0, third: 1.0}, {first: 8.0, second: 3.0, third: 0.0}

    def errors(choices):
        return [sum(worth[name] for name in choice) for choice in choices]

    def amount(choice):
        return 20.0 - sum(cost[name] for name in choice)

    removals = list(order_removals(blocks, errors, amount))
    # The third saves nothing, so it is never taken.
    assert [removal.names for removal in removals] == [(), (first,), (first, second)]
    assert removals[-1] == Removal((first, second), 7.0, 9.0)
    pinned = [replace(block, pinned="kept") for block in blocks]
    assert len(list(order_removals(pinned, errors, amount))) == 1
    # Both left, but either the first alone would do.
    assert put_back(removals[-1], errors, amount, lambda c: amount(c) <= 12).names == (first,)
    assert put_back(removals[-1], errors, amount, lambda c: amount(c) <= 10) == removals[-1]


def test_surgeon_weighs_blocks_against_widths() -> None:
    program, task = make(), Noise()
    goal = Goal(macs=0.6)
    full = cost_of(program).macs
    widths = Surgeon(samples=128)(program, Context(goal, task=task))
    both = Surgeon(samples=128, depth=True)(program, Context(goal, task=task))
    assert not widths.plan.choice
    # What the stem can take over is cheaper than any channel.
    assert "linear" in left_out(both)
    assert cost_of(both).macs <= 0.6 * full
    line = both.history[-1]
    assert "depths were tried" in line.notes[-1]
    assert line.numbers["width_error"] >= 0
    assert prove(both, compressc.lower(both)).passed
    with pytest.raises(GoalError, match="cannot be reached"):
        Surgeon(samples=64, depth=True)(program, Context(Goal(macs=0.0001), task=task))


def test_widths_of_a_block_that_left_are_not_chosen() -> None:
    program = make().with_plan(Plan(choice={"a..b": LEFT_OUT}))
    full = couple(program).cost(Plan()).macs
    decided = Magnitude()(program, context(macs=0.12))
    assert decided.plan.choice == {"a..b": LEFT_OUT}
    assert "a" not in decided.plan.keep
    assert cost_of(decided).macs <= 0.12 * full
    # All of the goal is met by the layers that are left.
    assert cost_of(decided).macs > 0.08 * full


def test_a_rehearsal_reaches_what_depth_and_widths_reach() -> None:
    program = make()
    least = Surgeon(depth=True).rehearsal()
    decided = least(program, context(macs=0.014))
    assert left_out(decided) == set(names(program))
    with pytest.raises(GoalError, match="cannot be reached"):
        Surgeon().rehearsal()(program, context(macs=0.014))


def test_the_whole_way_from_a_model_to_a_report() -> None:
    torch.manual_seed(0)
    program = compressc.capture(Net().eval(), (torch.randn(2, 3, 8, 8),))
    images = [torch.randn(48, 3, 8, 8) for _ in range(3)]
    task = UnlabeledTask(program, *((split,) for split in images), "noise")
    result = compressc.compress(
        program,
        goal=Goal(macs=0.5),
        passes=["depth", Calibration(refinement=RefinementSettings(refine_steps=0))],
        task=task,
        settings=Settings(measure=False),
    )
    report = result.report
    assert report.verdict.passed
    gone = [row.name for row in report.blocks if row.left_out]
    assert "a..b" in gone
    assert report.after.macs <= 0.5 * report.before.macs
    assert "residual blocks" in str(report)
    assert json.loads(report.to_json())["blocks"][1] == {"name": "a..b", "left_out": True}
    page = render_page(report)
    assert "Blocks that were left out" in page
    assert "a..b" in page
    row = next(row for row in report.layers if row.name == "a")
    assert (row.macs_after, row.widths_after) == (0, (0, 0))
