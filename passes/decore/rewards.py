"""Rewards and the policy gradient of DECORE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from compressc.errors import DataError
from compressc.tasks.capabilities import TellsCorrect
from compressc.tasks.protocol import Task


def find_correct(task: Task, outputs: Any, targets: Any) -> Tensor:
    """Return which samples are predicted right, bool (N,).

    A task may say so itself (:class:`~compressc.tasks.capabilities.TellsCorrect`); else the largest
    logit must be that of the label.

    Raises:
        DataError: if the task has none and is no classification, or returns something else.
    """
    if isinstance(task, TellsCorrect):
        correct = task.correct(outputs, targets)
        if not isinstance(correct, Tensor) or correct.dtype != torch.bool or correct.dim() != 1:
            raise DataError(
                f"decore: {type(task).__name__}.correct must return one bool per sample, a tensor "
                "of shape (N,)"
            )
        return correct
    logits = isinstance(outputs, Tensor) and outputs.dim() == 2
    labels = isinstance(targets, Tensor) and targets.dim() == 1 and not targets.is_floating_point()
    if not logits or not labels:
        raise DataError(
            "decore rewards right predictions, and this task is no classification; give "
            f"{type(task).__name__} a method correct(outputs, targets) that returns one bool per "
            "sample"
        )
    matches: Tensor = outputs.argmax(1) == targets
    return matches


def reward(actions: Tensor, correct: Tensor, membership: Tensor, penalty: float) -> Tensor:
    """Return the reward of every group: how many agents dropped, times that of the prediction.

    A right prediction counts 1, a wrong one ``-penalty``. It is the reward of each agent of the
    group.

    Shape:
        actions (N, agents) or (1, agents); correct bool (N,); membership (agents, groups), 1 where
        an agent belongs to a group; result (N, groups).
    """
    dropped = (1 - actions) @ membership
    worth = torch.where(correct, 1.0, -penalty).to(actions.dtype)
    return dropped * worth[:, None]


def subtract_others(rewards: Tensor) -> Tensor:
    """Return rewards less the mean of the other images': the same gradient on average, less noise.

    Without it every agent is credited with what all others of its group dropped. Needs actions of
    its own for each image; one image alone keeps its reward.

    Shape:
        rewards and result (N, groups).
    """
    images = len(rewards)
    if images < 2:
        return rewards
    return (rewards - rewards.mean(0)) * (images / (images - 1))


def policy_gradient(
    actions: Tensor, probabilities: Tensor, rewards: Tensor, membership: Tensor
) -> Tensor:
    """Return the gradient of the expected reward by the agents' weights, by REINFORCE.

    The mean over the batch of the gradient of log pi times the reward. For a Bernoulli policy whose
    probability is the sigmoid of the weight, the gradient of log pi is action minus probability.

    Shape:
        actions (N, agents) or (1, agents); probabilities (agents,); rewards (N, groups);
        membership (agents, groups); result (agents,).
    """
    surprise = (actions - probabilities).expand(len(rewards), -1)
    # Each agent's column of the product with the rewards of every group.
    return ((surprise.T @ rewards) * membership).sum(1) / len(rewards)
