"""SCAS: spaces, controllers, and the pass that decides architectures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.choices.space import SearchSpace, SpaceSize, find_space, registered_spaces
from compressc.contract.context import Context
from compressc.coupling.graph import couple
from compressc.errors import (
    BudgetError,
    ChoiceError,
    ControllerError,
    DataError,
    GoalError,
    ImageSizeError,
    SpaceError,
    SplitError,
)
from compressc.passes.scas.architecture_search import Scas
from compressc.passes.scas.controllers.alternation import Alternation
from compressc.passes.scas.controllers.controller import Ground
from compressc.passes.scas.controllers.hypernet import Hypernet
from compressc.passes.scas.controllers.policy import Policy
from compressc.passes.scas.controllers.reinforce import Reinforce
from compressc.passes.scas.supernet import Supernet
from compressc.passes.training.randomness import seeded
from compressc.pictures import ArchitecturePicture
from compressc.plan import Plan
from compressc.program import Program
from compressc.proof.equivalence import prove
from compressc.reporting.architecture_plots import draw_architecture
from tests.scas.scas_kit import (
    SIDE,
    SPACES,
    StoppedError,
    make_context,
    make_task,
    quick,
    supernet,
)

CPU = torch.device("cpu")


def random_choice(program: Program, space: SearchSpace, seed: int) -> dict[str, int]:
    rng = np.random.default_rng(seed)
    choices = couple(program).branches.choices
    return space.settle(choices, {e.name: rng.random(e.count).tolist() for e in choices})


def ground(space: str, **fields: Any) -> Ground:
    program, settings = supernet(space), quick(space, **fields)
    generated = Hypernet.generated_weights(program) if space == "smash" else frozenset()
    with seeded(CPU, 0):
        net = Supernet(program, CPU, settings, generated)
    return Ground(net, make_task(), find_space(space), settings, 0)


def test_the_spaces_are_registered() -> None:
    assert set(SPACES) <= set(registered_spaces())


@pytest.mark.parametrize("name", SPACES)
def test_a_space_lowers_as_its_mask_and_is_drawn(name: str) -> None:
    space, program = find_space(name), supernet(name)
    choices = couple(program).branches.choices
    for seed in range(2):
        choice = random_choice(program, space, seed)
        chosen = program.with_plan(Plan(choice=choice))
        lowered = compressc.lower(chosen)
        assert prove(chosen, lowered).passed
        assert compressc.couple(lowered).cost(Plan()) == couple(program).cost(chosen.plan)
        assert lowered.graph_module(torch.randn(2, 1, SIDE, SIDE)).shape == (2, 3)
        for picture in space.draw(choices, choice):
            plot = draw_architecture(picture)
            assert len(plot.boxes) == len(picture.nodes) > 2
            assert len(plot.arrows) == len(picture.edges) > 1
            assert all(0 < box.x < plot.width and 0 < box.y < plot.height for box in plot.boxes)
        encoded = np.array(space.encode(choices, choice))
        assert encoded.ndim == 3
        other = {**choice, choices[0].name: (choice[choices[0].name] + 1) % choices[0].count}
        assert not np.array_equal(encoded, np.array(space.encode(choices, other)))


@pytest.mark.parametrize("name", SPACES)
def test_a_child_of_the_supernet_is_its_lowered_network(name: str) -> None:
    program, space = supernet(name), find_space(name)
    net = Supernet(program, CPU, quick(), frozenset())
    choice = random_choice(program, space, 3)
    lowered = compressc.lower(program.with_plan(Plan(choice=choice))).module().train()
    x = torch.randn(16, 1, SIDE, SIDE)
    torch.testing.assert_close(net.run((x,), choice), lowered(x), rtol=1e-4, atol=1e-4)
    # A mixture whose weights are all on one candidate is that candidate.
    mixture = {entry.name: torch.eye(entry.count)[choice[entry.name]] for entry in net.choices}
    torch.testing.assert_close(net.run((x,), mixture), lowered(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SPACES)
def test_the_search_decides_everything_and_leaves_the_program_alone(name: str) -> None:
    program = supernet(name)
    before = {key: tensor.clone() for key, tensor in program.state().items()}
    decided = quick(name)(program, make_context())
    assert set(decided.plan.choice) == {e.name for e in couple(program).branches.choices}
    assert decided.graph_module is program.graph_module
    assert all(torch.equal(tensor, before[key]) for key, tensor in program.state().items())
    line = decided.history[-1]
    assert "ranked on search-validation" in line.notes[0]
    assert all(isinstance(picture, ArchitecturePicture) for picture in line.pictures)
    assert prove(decided, compressc.lower(decided)).passed


@pytest.mark.parametrize("name", ["enas-macro", "smash"])
def test_the_same_seed_finds_the_same(name: str) -> None:
    torch.manual_seed(1)
    first = quick(name)(supernet(name), make_context(seed=5))
    torch.manual_seed(2)
    second = quick(name)(supernet(name), make_context(seed=5))
    assert first.plan == second.plan
    assert first.history[-1].notes == second.history[-1].notes


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("darts", "enas-micro") else ())
        for name in SPACES
    ],
)
def test_a_search_that_was_cut_off_ends_the_same(name: str, tmp_path: Path) -> None:
    whole = quick(name)(supernet(name), make_context())

    def stop(done: int, total: int, text: str) -> None:
        if "epoch 2" in text:
            raise StoppedError

    with pytest.raises(StoppedError):
        quick(name)(supernet(name), replace(make_context(tmp_path), progress=stop))
    again = quick(name)(supernet(name), make_context(tmp_path))
    assert again.plan == whole.plan
    assert again.history[-1].notes == whole.history[-1].notes


@pytest.mark.slow
def test_workers_rank_alike() -> None:
    alone = quick("smash")(supernet("smash"), make_context())
    shared = quick("smash", workers=1)(supernet("smash"), make_context())
    assert alone.plan == shared.plan
    assert alone.history[-1].notes == shared.history[-1].notes


def test_any_controller_works_on_any_space() -> None:
    for space, controller in (("enas-micro", "alternation"), ("enas-macro", "hypernet")):
        program = supernet(space)
        decided = quick(space, controller=controller, epochs=1)(program, make_context())
        assert len(decided.plan.choice) == len(couple(program).branches.choices)


def test_a_supernet_of_ones_own_needs_no_space() -> None:
    decided = quick(epochs=1)(supernet("enas-macro"), make_context())
    assert decided.plan.choice
    assert decided.history[-1].pictures[0].title == "decisions"


class Rigged(nn.Module):
    """One choice between an honest candidate and noise, and one that does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        blind = torch.zeros_like(x)
        y = compressc.choose([blind, torch.relu(self.b(x)), 0 * x], "matters")
        return self.head(y.mean((2, 3)))


def rigged() -> Program:
    torch.manual_seed(0)
    return compressc.capture(Rigged().eval(), (torch.randn(2, 1, SIDE, SIDE),))


@pytest.mark.parametrize("controller", ["reinforce", "alternation"])
def test_a_controller_finds_the_candidate_that_sees_something(controller: str) -> None:
    method = quick(
        controller=controller,
        epochs=6,
        controller_steps=15,
        controller_rate=0.05,
        learning_rate=0.2,
        sparsity=0.3,
        children=2,
    )
    task = make_task(train=192)
    decided = method(rigged(), make_context(task=task))
    assert decided.plan.choice == {"matters": 1}


def test_gradients_of_the_policy_raise_what_is_rewarded() -> None:
    torch.manual_seed(0)
    choices = couple(supernet("enas-macro")).branches.choices
    policy = Policy(choices, 0.4)
    optimizer = torch.optim.Adam(policy.parameters(), 0.02)
    name = choices[0].name
    for _ in range(150):
        sample = policy.sample()
        reward = float(sample.choice[name] == 2) - 0.2
        optimizer.zero_grad()
        (-reward * sample.log_probability).backward()
        optimizer.step()
    drawn = [policy.sample().choice[name] for _ in range(50)]
    assert drawn.count(2) > 25
    assert policy.sample(likeliest=True).choice[name] == 2


def test_the_skip_penalty_brings_density_to_its_target() -> None:
    torch.manual_seed(0)
    choices = couple(supernet("enas-macro", layers=5)).branches.choices
    policy = Policy(choices, 0.2)
    optimizer = torch.optim.Adam(policy.parameters(), 0.02)
    skips = [entry.name for entry in choices if "/skip" in entry.name]
    assert len(skips) == 10
    for _ in range(120):
        optimizer.zero_grad()
        policy.sample().skip_distance.backward()
        optimizer.step()
    drawn = [policy.sample().choice for _ in range(60)]
    assert np.mean([choice[name] for choice in drawn for name in skips]) == pytest.approx(
        0.2, abs=0.08
    )


def test_weights_are_pruned_and_fixed_while_a_controller_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[float, bool]] = []
    original = Reinforce.learn

    def learn(self: Reinforce, epoch: int) -> str:
        net = self._ground.supernet
        before = {n: t.clone() for n, t in net.module.state_dict().items()}
        said = original(self, epoch)
        same = all(torch.equal(t, before[n]) for n, t in net.module.state_dict().items())
        fixed = not any(p.requires_grad for p in net.module.parameters())
        seen.append((net.masks.sparsity, same and fixed))
        return said

    monkeypatch.setattr(Reinforce, "learn", learn)
    quick("enas-macro", sparsity=0.75, channels_last=False)(supernet("enas-macro"), make_context())
    assert len(seen) == 2
    assert all(same for _, same in seen)
    assert all(share > 0.6 for share, _ in seen)


def test_second_order_is_the_gradient_behind_a_step() -> None:
    """On a quadratic the finite difference is exact, so both sides can be computed."""
    place = ground("darts", second_order=True, learning_rate=0.01)
    with seeded(CPU, 1):
        controller = Alternation(place)
    task = make_task()
    batch = next(iter(task.validation_batches(16, 0)))
    ahead = next(iter(task.train_batches(0, 0)))
    before = {n: t.clone() for n, t in place.supernet.module.state_dict().items()}
    controller._look(batch, ahead)
    second = [p.grad.clone() for p in controller._mixture.parameters()]
    for name, tensor in place.supernet.module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    controller._optimizer.zero_grad()
    controller._differentiate(batch)
    first = [p.grad.clone() for p in controller._mixture.parameters()]
    assert any(not torch.allclose(a, b) for a, b in zip(first, second, strict=True))
    numeric = _by_differences(controller, place, batch, ahead)
    index = int(second[0].abs().argmax())
    assert float(second[0][index]) == pytest.approx(numeric(0, index), rel=0.15, abs=2e-4)


def _by_differences(controller: Alternation, place: Ground, batch: Any, ahead: Any) -> Any:
    """Return the derivative of the loss behind one step of the weights, by brute force."""
    network = [p for p in place.supernet.module.parameters() if p.is_floating_point()]
    mixture = list(controller._mixture.parameters())
    saved = [weight.detach().clone() for weight in network]

    def loss_at() -> float:
        for weight in network:
            weight.requires_grad_(True)
        gradients = torch.autograd.grad(controller._loss(ahead), network, allow_unused=True)
        with torch.no_grad():
            for weight, gradient in zip(network, gradients, strict=True):
                if gradient is not None:
                    weight -= place.settings.peak_rate * gradient
            value = float(controller._loss(batch))
            for weight, old in zip(network, saved, strict=True):
                weight.copy_(old)
        return value

    def numeric(parameter: int, index: int, step: float = 0.02) -> float:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                mixture[parameter][index] += sign * step
            values.append(loss_at())
            with torch.no_grad():
                mixture[parameter][index] -= sign * step
        return (values[0] - values[1]) / (2 * step)

    return numeric


def test_darts_keeps_two_inputs_of_each_node() -> None:
    space, program = find_space("darts"), supernet("darts", nodes=3)
    choices = couple(program).branches.choices
    for seed in range(5):
        choice = random_choice(program, space, seed)
        for kind in ("normal", "reduction"):
            for node in range(3):
                edges = [n for n in choice if n.startswith(f"{kind}/node{node}/")]
                assert len(edges) == node + 2
                assert sum(choice[n] > 0 for n in edges) == 2
    strengths = {e.name: [0.0] * e.count for e in choices}
    strengths["normal/node2/edge3"][4] = 0.9
    strengths["normal/node2/edge1"][6] = 0.8
    strengths["normal/node2/edge0"][0] = 5.0
    settled = space.settle(choices, strengths)
    assert settled["normal/node2/edge3"] == 4
    assert settled["normal/node2/edge1"] == 6
    assert settled["normal/node2/edge0"] == settled["normal/node2/edge2"] == 0


def test_a_hypernet_gives_pruned_weights_that_depend_on_the_architecture() -> None:
    place = ground("smash", sparsity=0.75)
    with seeded(CPU, 0):
        controller = Hypernet(place)
    names = Hypernet.generated_weights(supernet("smash"))
    assert "head.classifier.weight" not in names
    assert "layers.0.reads.0.weight" in names
    first = {entry.name: 0 for entry in place.supernet.choices}
    other = {**first, "layer1/read": 2}
    weights = controller.weights(first, 0.75)
    assert set(weights) == names
    for name, weight in weights.items():
        assert weight.shape == place.supernet.module.get_parameter(name).shape
        kept = float((weight != 0).float().mean())
        assert kept == pytest.approx(max(0.25, 4 / weight.numel()), abs=0.05)
    changed = controller.weights(other, 0.75)
    assert any(not torch.equal(changed[name], weights[name]) for name in names)
    repaired = controller.repair()
    assert repaired is not None
    mended = repaired.mend({}, couple(supernet("smash")), Plan(choice=first))
    torch.testing.assert_close(mended, {n: w.detach() for n, w in weights.items()})


def test_sparsity_0_searches_without_pruning() -> None:
    decided = quick("enas-macro", sparsity=0.0)(supernet("enas-macro"), make_context())
    assert "0 % zeros" in decided.history[-1].notes[0]


def test_floors_are_said() -> None:
    decided = quick("enas-macro", sparsity=0.95, epochs=1)(supernet("enas-macro"), make_context())
    assert "would leave too little of" in " ".join(decided.history[-1].notes)


class Bare:
    """A task with nothing but what every task must have."""

    metric_name = "accuracy"

    def __init__(self, task: Any) -> None:
        for name in ("train_batches", "calibration_batches", "loss", "validate", "evaluate"):
            setattr(self, name, getattr(task, name))


# Bad input: one line each, every kind with an exit code of its own.


def check_line(error: BaseException) -> None:
    assert "\n" not in str(error)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(SplitError, match="search-validation has 12 samples") as caught:
        quick("enas-macro")(supernet("enas-macro"), make_context(task=make_task(val=12)))
    check_line(caught.value)


@pytest.mark.parametrize("name", SPACES)
def test_small_images_are_refused(name: str) -> None:
    with pytest.raises(ImageSizeError, match=r"8x8, and .* at least 12x12 is needed") as caught:
        find_space(name).check_images(SpaceSize(), (1, 8, 8))
    check_line(caught.value)
    find_space(name).check_images(SpaceSize(), (1, 12, 12))
    with pytest.raises(ImageSizeError, match="stem of stride 2: at least 24x24"):
        find_space(name).check_images(SpaceSize(stem_stride=2), (1, 12, 12))


def test_an_unknown_space_is_named_beside_the_known_ones() -> None:
    with pytest.raises(SpaceError, match=r"'enas' ?; installed spaces: darts|'enas'") as caught:
        find_space("enas")
    assert "enas-macro" in str(caught.value)
    check_line(caught.value)


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("enas-macro", SpaceSize(layers=2), "more than 2 layers"),
        ("darts", SpaceSize(layers=1), "more than 2 layers"),
        ("smash", SpaceSize(layers=2), "more than 2 layers"),
        ("smash", SpaceSize(nodes=5), "at most 4 memory banks"),
    ],
)
def test_sizes_that_cannot_be_built(name: str, size: SpaceSize, text: str) -> None:
    with pytest.raises(SpaceError, match=text) as caught:
        find_space(name).build(size, (1, SIDE, SIDE), 3)
    check_line(caught.value)
    with pytest.raises(SpaceError, match="--stem-stride 0: at least 1"):
        SpaceSize(stem_stride=0)


@pytest.mark.parametrize("field", ["epochs", "children", "controller_steps"])
def test_a_budget_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(BudgetError, match=f"{field} 0: too few for one generation"):
        Scas(**{field: 0})


def test_fewer_trials_than_a_generation_are_refused() -> None:
    with pytest.raises(BudgetError, match="2 trials are too few for one generation of 3"):
        quick("enas-macro")(supernet("enas-macro"), make_context(trials=2))


def test_a_policy_that_becomes_nan_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reinforce, "_judge", lambda *_: float("nan"))
    text = r"the controller became NaN in epoch 1, step 1 .*--controller-rate"
    with pytest.raises(ControllerError, match=text) as caught:
        quick("enas-macro")(supernet("enas-macro"), make_context())
    check_line(caught.value)


def test_a_mixture_that_becomes_nan_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Alternation._loss
    monkeypatch.setattr(Alternation, "_loss", lambda *a: original(*a) * float("nan"))
    text = "the mixture became NaN in epoch 1, step 1; give a lower --controller-rate"
    with pytest.raises(ControllerError, match=text) as caught:
        quick("darts")(supernet("darts"), make_context())
    check_line(caught.value)


def test_a_search_that_diverges_says_so() -> None:
    decided = quick("enas-macro", learning_rate=1e18)(supernet("enas-macro"), make_context())
    assert decided.plan.choice
    assert "the search stopped" in " ".join(decided.history[-1].notes)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sparsity": 1.0}, "sparsity 1: give a share"),
        ({"controller": "best"}, "controller 'best': give one of"),
        ({"controller_rate": 0.0}, "controller_rate 0"),
        ({"skip_target": 1.0}, "skip_target 1"),
        ({"entropy": -1.0}, "entropy -1"),
        ({"floor": 0}, "floor 0"),
        ({"ema": 0.5}, "give ema and patience to finetune"),
    ],
)
def test_bad_settings_are_one_line(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(GoalError, match=text):
        Scas(**fields)


def test_nothing_to_choose_and_chosen_already() -> None:
    program = supernet("enas-macro")
    lowered = compressc.lower(
        program.with_plan(Plan(choice=random_choice(program, find_space("enas-macro"), 0)))
    )
    with pytest.raises(ChoiceError, match=r"finds nothing to choose.*compressc search"):
        quick()(lowered, make_context())
    chosen = program.with_plan(Plan(choice={"layer0/operation": 1}))
    with pytest.raises(ChoiceError, match="chosen already"):
        quick()(chosen, make_context())


def test_what_a_controller_needs_of_a_task_is_said() -> None:
    program = supernet("enas-macro")
    with pytest.raises(DataError, match="scas needs data"):
        quick()(program, Context())
    with pytest.raises(DataError, match="no validation_batches"):
        quick(controller="alternation")(program, make_context(task=Bare(make_task())))
