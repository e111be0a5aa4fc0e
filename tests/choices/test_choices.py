"""Architecture choices: rule, masks, lowering, price, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.choices.branches import Branches, Decided, read_branches
from compressc.coupling.graph import Coupling, cost_of, couple
from compressc.coupling.priced_costs import price_plan
from compressc.errors import ChoiceError, PlanError
from compressc.frontend.archive import save
from compressc.lowering import plan_application
from compressc.plan import Plan
from compressc.program import Program
from compressc.proof import masking
from compressc.rules.registry import RULES
from compressc.zero_price import SPARSE
from tests.oracle import check_theorem
from tests.plans import random_plan, with_random_zeros

CHANNELS = 6


class Supernet(nn.Module):
    """Layers of random candidates, with skips, in-place activations and decisions that repeat."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.layers = nn.ModuleList(self._candidates() for _ in range(3))
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.head = nn.Linear(CHANNELS, 5)
        self.skips = [bool(self.rng.random() < 0.7) for _ in range(3)]
        self.names = ["first", str(self.rng.choice(["second", "first"])), "third"]

    def _candidates(self) -> nn.ModuleList:
        made = [
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.Sequential(nn.Conv2d(CHANNELS, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 1)),
            nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)),
            nn.AvgPool2d(3, 1, 1),
            nn.Identity(),
        ]
        order = self.rng.permutation(len(made))[:3]
        return nn.ModuleList(made[place] for place in order)

    def forward(self, x: Tensor) -> Tensor:
        values = [torch.relu(self.stem(x))]
        for number, candidates in enumerate(self.layers):
            made = [each(values[-1]) for each in candidates]
            value = compressc.choose(made, self.names[number])
            if self.skips[number]:
                earlier = values[number // 2]
                parts = [torch.zeros_like(earlier), earlier]
                value = value + compressc.choose(parts, f"skip{number}")
            values.append(torch.relu(value))
        return self.head(F.gelu(self.norm(values[-1])).mean((2, 3)))


def captured(seed: int) -> Program:
    torch.manual_seed(seed)
    return compressc.capture(Supernet(seed).eval(), (torch.randn(2, 3, 8, 8),))


def random_choice(program: Program, seed: int, share: float = 1.0) -> dict[str, int]:
    rng = np.random.default_rng(seed)
    return {
        entry.name: int(rng.integers(entry.count))
        for entry in couple(program).branches.choices
        if rng.random() < share
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_choices_and_channels_prune_as_their_mask(seed: int) -> None:
    program = captured(seed)
    plan = random_plan(couple(program), seed).with_choice(random_choice(program, seed))
    lowered = check_theorem(program, plan)
    assert not couple(lowered).branches.choices


@pytest.mark.parametrize("seed", range(6))
def test_zeros_and_part_of_the_choices_as_well(seed: int) -> None:
    program = captured(seed)
    plan = with_random_zeros(random_plan(couple(program), seed), couple(program), seed)
    choice = random_choice(program, seed, share=0.5)
    lowered = check_theorem(program, plan.with_choice(choice), informative=False)
    left = {entry.name for entry in couple(lowered).branches.choices}
    assert left == {entry.name for entry in couple(program).branches.choices} - set(choice)


class Written(nn.Module):
    """A candidate, and a choice, that are written to in place afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.head = nn.Linear(CHANNELS, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = compressc.choose([self.b(x), x], "y")
        z = compressc.choose([x, self.b(x)], "z")
        y.add_(torch.sin(x))
        x.mul_(2.0)
        kept = z + compressc.choose([x, torch.zeros_like(x)], "skip")
        x[:, :3].add_(1.0)
        return self.head((x + y + kept).mean((2, 3)))


@pytest.mark.parametrize("code", range(8))
def test_what_is_written_in_place_is_copied_first(code: int) -> None:
    program = compressc.capture(Written().eval(), (torch.randn(2, 3, 4, 4),))
    choice = {"y": code & 1, "z": code >> 1 & 1, "skip": code >> 2}
    check_theorem(program, Plan(choice=choice))


def test_branches_that_were_not_chosen_are_gone() -> None:
    program = captured(0)
    choice = random_choice(program, 1)
    lowered = compressc.lower(program.with_plan(Plan(choice=choice)))
    before, after = cost_of(program), cost_of(lowered)
    assert after.macs < before.macs
    assert after.params < before.params
    assert set(lowered.state()) < set(program.state())
    rows = couple(program).layers(Plan(choice=choice))
    assert rows == couple(lowered).layers(Plan())


def test_a_connection_that_is_left_out_costs_nothing() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            skip = self.b(x)
            value = self.a(x) + compressc.choose([torch.zeros_like(skip), skip], "skip")
            return self.head(value.mean((2, 3)))

    program = compressc.capture(Net().eval(), (torch.randn(2, 3, 4, 4),))
    lowered = compressc.lower(program.with_plan(Plan(choice={"skip": 0})))
    targets = [str(node.target) for node in lowered.graph_module.graph.nodes]
    assert not any("zeros" in target or "add" in target for target in targets)
    assert "b.weight" not in lowered.state()


def test_zeros_in_dropped_branches_are_no_saving() -> None:
    program = captured(0)
    coupling = couple(program)
    choice = random_choice(program, 1)
    living = coupling.living_tensors(choice)
    dead = next(n for n, t in program.state().items() if n not in living and t.dim() == 4)
    nothing = np.zeros(program.state()[dead].shape, dtype=bool)
    plan = Plan(choice=choice)
    assert price_plan(coupling, plan.with_zero({dead: nothing}), SPARSE).params == (
        price_plan(coupling, plan, SPARSE).params
    )


def test_an_undecided_choice_is_the_mean_and_shares_its_gradient() -> None:
    parts = [torch.randn(2, 3, requires_grad=True) for _ in range(4)]
    out = compressc.choose(parts, "x")
    torch.testing.assert_close(out, torch.stack(parts).mean(0))
    out.sum().backward()
    for part in parts:
        torch.testing.assert_close(part.grad, torch.full((2, 3), 0.25))


def test_an_undecided_program_is_not_exported() -> None:
    with pytest.raises(ChoiceError, match=r"choice\(s\) are undecided .*Plan.choice") as caught:
        export_onnx(captured(0))
    assert "\n" not in str(caught.value)


def test_a_chosen_program_is_exported_and_saved(tmp_path: Path) -> None:
    program = captured(0)
    lowered = compressc.lower(program.with_plan(Plan(choice=random_choice(program, 0))))
    assert len(export_onnx(lowered).graph.node) > 3
    save(program, tmp_path / "supernet.pt2")
    again = compressc.load(str(tmp_path / "supernet.pt2"))
    assert couple(again).branches.choices == couple(program).branches.choices


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"fifth": 0}, "choice for 'fifth': the program has no architecture node"),
        ({"third": 3}, "choice for 'third' is 3, but it has 3 candidates: 0 to 2"),
        ({"third": -1}, "choice for 'third' is -1"),
    ],
)
def test_a_choice_that_does_not_fit_is_one_line(choice: dict[str, int], text: str) -> None:
    program = captured(0).with_plan(Plan(choice=choice))
    for use in (compressc.lower, compressc.masked):
        with pytest.raises(PlanError, match=text):
            use(program)


def test_one_name_for_different_choices_is_refused() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return compressc.choose([x, -x], "a") + compressc.choose([x, -x, 2 * x], "a")

    program = compressc.capture(Net(), (torch.randn(2, 3),))
    with pytest.raises(PlanError, match="'a' has 2 candidates in one place and 3 in another"):
        couple(program).check(Plan())
    with pytest.raises(PlanError, match="different names"):
        compressc.lower(program.with_plan(Plan(choice={"a": 0})))


def test_candidates_of_different_shapes_are_refused() -> None:
    with pytest.raises(RuntimeError):
        compressc.choose([torch.zeros(2, 3), torch.zeros(2, 4)], "a")


def test_the_plan_with_choices_survives_a_round_trip(tmp_path: Path) -> None:
    plan = Plan(choice={"a": 1}).with_choice({"b": 0})
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert plan != Plan(choice={"a": 1, "b": 1})


# Planted faults: the theorem must notice each of them.
Patch = pytest.MonkeyPatch


def lowering_takes_the_next_branch(patch: Patch) -> None:
    original = plan_application.drop_branches

    def wrong(module: Any, branches: Branches, choice: Any) -> None:
        counts = {entry.name: entry.count for entry in branches.choices}
        original(module, branches, {n: (i + 1) % counts[n] for n, i in choice.items()})

    patch.setattr(plan_application, "drop_branches", wrong)


def lowering_leaves_skips_in(patch: Patch) -> None:
    original = plan_application.drop_branches

    def wrong(module: Any, branches: Branches, choice: Any) -> None:
        original(module, branches, {n: 1 if n.startswith("skip") else i for n, i in choice.items()})

    patch.setattr(plan_application, "drop_branches", wrong)


def sums_lose_the_wrong_side(patch: Patch) -> None:
    original = Branches.decide

    def wrong(self: Branches, choice: Any) -> Decided:
        decided = original(self, choice)
        stands = dict(decided.stands)
        for name in set(stands) & set(self.sums):
            sides = [stands.get(value, value) for value in self.sums[name]]
            stands[name] = next(side for side in sides if side in self.zeros)
        return Decided(stands, decided.copies, frozenset(self.inputs))

    patch.setattr(Branches, "decide", wrong)


def mask_forgets_a_choice(patch: Patch) -> None:
    original = masking.select_candidates

    def wrong(module: Any, choice: Any) -> None:
        original(module, dict(list(choice.items())[1:]))

    patch.setattr(masking, "select_candidates", wrong)


def mask_selects_the_first(patch: Patch) -> None:
    original = masking.select_candidates

    def wrong(module: Any, choice: Any) -> None:
        original(module, dict.fromkeys(choice, 0))

    patch.setattr(masking, "select_candidates", wrong)


def candidates_are_not_coupled(patch: Patch) -> None:
    def uncoupled(site: Any) -> Any:
        return site.axes_of(site.arg("candidates")[0])

    patch.setitem(RULES, torch.ops.compressc.choose.default, uncoupled)


def the_price_forgets_that_branches_leave(patch: Patch) -> None:
    patch.setattr(
        Coupling, "living_tensors", lambda self, choice: frozenset(self.propagation.tensors)
    )


FAULTS = (
    lowering_takes_the_next_branch,
    lowering_leaves_skips_in,
    sums_lose_the_wrong_side,
    mask_forgets_a_choice,
    mask_selects_the_first,
    candidates_are_not_coupled,
    the_price_forgets_that_branches_leave,
)


def _theorem_holds() -> None:
    for seed in range(4):
        program = captured(seed)
        plan = random_plan(couple(program), seed)
        choice = {
            entry.name: 0 if entry.name.startswith("skip") else 1 + seed % 2
            for entry in couple(program).branches.choices
        }
        check_theorem(program, plan.with_choice(choice))


def test_the_theorem_holds_without_faults() -> None:
    _theorem_holds()


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_noticed(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        _theorem_holds()


def test_a_candidate_that_only_a_dropped_branch_reads_does_not_live() -> None:
    branches = read_branches(captured(0).graph_module.graph)
    everything = branches.decide({}).living
    chosen = branches.decide(random_choice(captured(0), 0)).living
    assert chosen < everything
