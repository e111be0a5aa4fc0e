"""The reward, and REINFORCE against autograd and against the whole expectation."""

from __future__ import annotations

import itertools

import pytest
import torch

from compressc.errors import DataError
from compressc.passes.decore.rewards import find_correct, policy_gradient, reward, subtract_others

MEMBERSHIP = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1]])


def test_right_predictions_reward_what_a_group_dropped_and_wrong_ones_punish_it() -> None:
    actions = torch.tensor([[1, 0, 0, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=torch.float32)
    correct = torch.tensor([True, False, True])
    found = reward(actions, correct, MEMBERSHIP, penalty=3.0)
    wanted = [[2, 0], [-6, -3], [0, 0]]
    assert found.tolist() == wanted


def test_shared_actions_have_a_reward_for_every_image() -> None:
    actions = torch.tensor([[1, 0, 0, 1, 0]], dtype=torch.float32)
    found = reward(actions, torch.tensor([True, False]), MEMBERSHIP, penalty=0.5)
    assert found.tolist() == [[2, 1], [-1, -0.5]]


@pytest.mark.parametrize("rows", [1, 16])
def test_the_closed_form_is_autograd_of_log_pi_times_reward(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()
    actions = (torch.rand(rows, 5, generator=generator) < 0.6).double()
    correct = torch.rand(16, generator=generator) < 0.5
    rewards = reward(actions, correct, MEMBERSHIP.double(), penalty=4.0)
    policy = torch.distributions.Bernoulli(logits=weights)
    (policy.log_prob(actions) * (rewards @ MEMBERSHIP.double().T)).mean(0).sum().backward()
    found = policy_gradient(actions, weights.detach().sigmoid(), rewards, MEMBERSHIP.double())
    torch.testing.assert_close(found, weights.grad)


def test_its_mean_over_all_actions_is_the_gradient_of_the_expected_reward() -> None:
    """Three agents in one group; the prediction is right where the first stays or none leaves."""
    weights = torch.tensor([0.4, -0.7, 1.2], dtype=torch.float64, requires_grad=True)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    correct = every[:, 0] == 1
    group = torch.ones(3, 1, dtype=torch.float64)
    rewards = reward(every, correct, group, penalty=0.5)
    p = weights.sigmoid()
    chances = (every * p + (1 - every) * (1 - p)).prod(1)
    (chances * rewards[:, 0]).sum().backward()
    found = ((every - p.detach()) * rewards * chances.detach()[:, None]).sum(0)
    torch.testing.assert_close(found, weights.grad)
    weighted = rewards * chances.detach()[:, None] * len(every)
    mean = policy_gradient(every, p.detach(), weighted, group)
    torch.testing.assert_close(mean, weights.grad)
    # Uphill is to keep the agent that matters, and to drop those that do not.
    assert found[0] > 0
    assert found[1] < 0
    assert found[2] < 0


def test_the_baseline_leaves_the_mean_of_the_gradient_as_it_is_and_takes_noise_away() -> None:
    """Two agents, two images, all sixteen draws of actions."""
    p, group = torch.tensor([0.3, 0.8], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    means, squares = [torch.zeros(2)] * 2, [torch.zeros(2)] * 2
    for draw in itertools.product([0.0, 1.0], repeat=4):
        actions = torch.tensor(draw, dtype=torch.float64).view(2, 2)
        chance = float((actions * p + (1 - actions) * (1 - p)).prod())
        rewards = reward(actions, torch.tensor([True, True]), group, penalty=1.0) + 5
        for index, used in enumerate((rewards, subtract_others(rewards))):
            gradient = policy_gradient(actions, p, used, group)
            means[index] = means[index] + chance * gradient
            squares[index] = squares[index] + chance * gradient**2
    torch.testing.assert_close(means[0], means[1])
    assert (squares[1] < squares[0]).all()


def test_labels_say_what_is_right_unless_the_task_does() -> None:
    class Ruled:
        def correct(self, outputs, targets):
            return (outputs - targets).abs().amax((1, 2, 3)) < 1

    logits, labels = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1])
    assert find_correct(object(), logits, labels).tolist() == [True, False]  # type: ignore[arg-type]
    images = torch.zeros(2, 1, 2, 2)
    right = find_correct(Ruled(), images, images + torch.tensor([0.5, 2]).view(2, 1, 1, 1))  # type: ignore[arg-type]
    assert right.tolist() == [True, False]
    with pytest.raises(DataError, match=r"method correct\(outputs, targets\)"):
        find_correct(object(), images, images)  # type: ignore[arg-type]


def test_a_method_that_returns_something_else_is_refused() -> None:
    class Wrong:
        def correct(self, outputs, targets):
            return (outputs == targets).float()

    with pytest.raises(DataError, match="one bool per sample"):
        find_correct(Wrong(), torch.zeros(3), torch.zeros(3))  # type: ignore[arg-type]
