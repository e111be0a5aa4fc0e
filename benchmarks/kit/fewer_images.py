"""Fewer images, for runs that must end today."""

from __future__ import annotations

import dataclasses

import torch

from compressc.models.training_data import Labeled
from compressc.tasks.classification import ClassificationTask


def take_images(task: ClassificationTask, train: int, val: int | None = None) -> ClassificationTask:
    """Return the task with so many images of its training and search-validation splits.

    They are spread evenly over the split: folders of images are sorted by class.
    """
    data = dataclasses.replace(task.data, train=_spread(task.data.train, train))
    if val is not None:
        data = dataclasses.replace(data, val=_spread(data.val, val))
    return dataclasses.replace(task, data=data)


def _spread(split: Labeled, count: int) -> Labeled:
    places = torch.linspace(0, len(split) - 1, min(count, len(split))).long()
    taken: Labeled = split.take(places)
    return taken
