"""A task without labels: agreement with the original is what it knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import compressc
from compressc.contract.context import Context
from compressc.contract.enforcement import check_needs
from compressc.errors import DataError
from compressc.goal import Goal
from compressc.passes.distill import Distill
from compressc.passes.finetune import Finetune
from compressc.passes.magnitude import Magnitude
from compressc.passes.training.objectives import soften_and_compare
from compressc.settings import Settings
from compressc.tasks.agreement import Agreement, Comparison
from compressc.tasks.capabilities import ComparesWithOriginal
from compressc.tasks.protocol import Task
from compressc.tasks.unlabeled import UnlabeledTask, split_inputs
from tests.passes.training_kit import make_program, make_task
from tests.search_kit import make_ascai


def unlabeled(program: compressc.Program, count: int = 120, seed: int = 0) -> UnlabeledTask:
    """Return the pictures of the usual task without their labels."""
    pictures = torch.cat([x for (x,) in make_task(train=count).calibration_batches(count, seed)])
    return UnlabeledTask(
        program, *split_inputs((pictures,), seed), inputs_from="pictures", batch_size=32
    )


def test_it_is_a_whole_task_and_says_that_it_has_no_labels():
    task = unlabeled(make_program())
    assert isinstance(task, Task)
    assert isinstance(task, ComparesWithOriginal)
    assert not isinstance(make_task(), ComparesWithOriginal)


def test_the_original_agrees_with_itself_and_another_network_does_not():
    program, other = make_program(), make_program(seed=5)
    task = unlabeled(program)
    assert task.evaluate(program.module()) == 100
    assert task.validate(program.module()) == 100
    agreement = task.compare(other.module())
    assert agreement.percent < 80
    assert agreement.samples == 18


def test_splits_share_no_sample_and_leave_none_out():
    x = torch.arange(40.0)[:, None]
    parts = split_inputs((x, -x), seed=3)
    assert [len(part[0]) for part in parts] == [28, 6, 6]
    rows = torch.cat([part[0] for part in parts]).flatten().sort().values
    assert torch.equal(rows, torch.arange(40.0))
    assert all(torch.equal(first, -second) for first, second in parts)


def test_what_it_gives_for_labels_is_what_the_original_says():
    program = make_program()
    (inputs, targets), *_ = unlabeled(program).train_batches(0, 0)
    with torch.no_grad():
        assert torch.equal(targets, program.module()(*inputs))


def test_finetune_is_refused_and_distill_and_ascai_are_not():
    program = make_program()
    context = Context(task=unlabeled(program), original=program)
    with pytest.raises(DataError, match=r"pictures have none; take --pass distill"):
        check_needs(Finetune(), program, context)
    check_needs(Distill(), program, context)
    check_needs(make_ascai(), program, context)


def test_distill_brings_a_pruned_network_back_without_labels():
    program = make_program(dropout=0.0)
    task = unlabeled(program, 240)
    cut = compressc.lower(Magnitude()(program, Context(Goal(macs=0.5))))
    context = Context(Goal(), task=task, original=program)
    taught = Distill(epochs=15, learning_rate=0.1, precision="float32", temperature=1.0)(
        cut, context
    )
    inputs, said = next(task.train_batches(0, 0))
    # What is learned is the distribution that logits stand for: adding a constant changes nothing.
    before, after = (
        float(soften_and_compare(network.module().eval()(*inputs), said, 1.0).detach())
        for network in (cut, taught)
    )
    assert after < 0.8 * before, (before, after)


def test_ascai_searches_by_agreement():
    program = make_program()
    result = compressc.compress(
        program,
        goal=Goal(macs=0.6, trials=10),
        passes=[make_ascai(population=5, generations=1)],
        task=unlabeled(program),
        settings=Settings(measure=False),
    )
    assert result.report.metric.name.startswith("agreement with the original on pictures")


class Boxes(nn.Module):
    """Two outputs that are no logits."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3, bias=False), nn.Linear(4, 2)

    def forward(self, x):
        return {"boxes": self.a(x), "scores": self.b(x).sigmoid()}


def test_other_outputs_are_compared_by_their_error():
    torch.manual_seed(0)
    program = compressc.capture(Boxes().eval(), (torch.randn(2, 4),))
    x = torch.randn(64, 4)
    task = UnlabeledTask(program, *split_inputs((x,), 0), inputs_from="vectors")
    assert "reproduced" in task.metric_name
    state = program.state()
    halved = {name: t * 0.5 if name.startswith("a.") else t for name, t in state.items()}
    agreement = task.compare(program.with_state(halved).module())
    assert agreement.top1 is None
    assert agreement.relative_error == pytest.approx(0.5, abs=0.05)
    assert agreement.percent == pytest.approx(50, abs=5)
    assert not agreement.is_at_chance
    assert float(task.loss({"boxes": x, "scores": x}, {"boxes": x, "scores": x})) == 0


def test_outputs_that_no_divergence_fits_are_refused():
    class Choice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x).argmax(1)

    program = compressc.capture(Choice().eval(), (torch.randn(2, 4),))
    task = UnlabeledTask(program, *split_inputs((torch.randn(20, 4),), 0), inputs_from="vectors")
    with pytest.raises(DataError, match="outputs are int64: no divergence"):
        task.check_model(program)


def test_inputs_that_do_not_fit_are_told_with_both_shapes():
    program = make_program()
    wrong = (torch.randn(20, 1, 8, 8),)
    task = UnlabeledTask(program, *split_inputs(wrong, 0), inputs_from="pictures")
    with pytest.raises(DataError, match=r"reads \[\(3, 8, 8\)\] .*these are \[\(1, 8, 8\)\]"):
        task.check_model(program)


def test_a_network_bound_to_a_batch_gets_no_other():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3)).eval()
    program = compressc.capture(net, (torch.randn(4, 4),), dynamic_shapes=None)
    task = UnlabeledTask(program, *split_inputs((torch.randn(60, 4),), 0), inputs_from="vectors")
    assert {len(x) for (x,), _ in task.train_batches(0, 0)} == {4}
    assert task.evaluate(program.module()) == 100


@pytest.mark.parametrize(
    ("top1", "chance", "samples", "dead"),
    [(0.1, 0.1, 64, True), (0.2, 0.1, 64, True), (0.9, 0.1, 64, False), (0.9, 0.9, 64, True)],
)
def test_chance_is_told_from_agreement(top1, chance, samples, dead):
    assert Agreement(samples, 1.0, top1, chance).is_at_chance == dead


def test_chance_is_what_the_same_answers_in_another_order_would_give():
    comparison = Comparison()
    original = torch.eye(4).repeat(25, 1)
    constant = torch.zeros(100, 4)
    constant[:, 2] = 1
    comparison.add(original[:60], constant[:60])
    comparison.add(original[60:], constant[60:])
    agreement = comparison.agreement()
    assert agreement.top1 == agreement.chance == 0.25
    assert agreement.is_at_chance
    assert "by chance 25 %" in agreement.text


def test_what_is_no_number_is_no_agreement():
    comparison = Comparison()
    comparison.add(torch.randn(8, 2, 2), torch.full((8, 2, 2), float("nan")))
    agreement = comparison.agreement()
    assert agreement.is_at_chance
    assert agreement.percent == -float("inf")
