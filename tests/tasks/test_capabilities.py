"""What tasks offer beyond the protocol that all of them fulfil."""

from __future__ import annotations

import inspect

import pytest
import torch

from compressc.tasks import capabilities
from compressc.tasks.capabilities import (
    ChecksModel,
    CountsSteps,
    CountsValidation,
    DescribesInput,
    DropsOtherSplits,
    GivesSamples,
    GivesTraining,
    HasFingerprint,
    HasNotes,
    HasTestFingerprint,
    SamplesValidation,
    TellsCorrect,
)
from compressc.tasks.loaders import LoaderTask
from compressc.tasks.protocol import Scored
from tests.search_kit import trained

ALL = {
    value
    for value in vars(capabilities).values()
    if inspect.isclass(value) and value.__module__ == capabilities.__name__
}


def offered(task: object) -> set[type]:
    return {capability for capability in ALL if isinstance(task, capability)}


class OnlyScored:
    """All that a report needs, and nothing else."""

    metric_name = "m"

    def evaluate(self, module: torch.nn.Module) -> float:
        del module
        return 1.0


def test_each_task_offers_what_it_has():
    bare: Scored = OnlyScored()
    assert offered(bare) == set()
    loaders = LoaderTask([], [], [], torch.nn.functional.mse_loss, lambda _: 1.0, "m")
    assert offered(loaders) == {
        GivesTraining,
        GivesSamples,
        CountsSteps,
        ChecksModel,
        HasFingerprint,
        HasTestFingerprint,
    }
    assert offered(trained()[1]) == ALL - {TellsCorrect}


@pytest.mark.parametrize(
    ("attribute", "value", "capability"),
    [
        ("train_batches", lambda epoch, seed: iter(()), GivesTraining),
        ("calibration_batches", lambda samples, seed: iter(()), GivesSamples),
        ("train_steps", lambda: 3, CountsSteps),
        ("correct", lambda outputs, targets: outputs == targets, TellsCorrect),
        ("check_model", lambda program: None, ChecksModel),
        ("fingerprint", lambda: "abc", HasFingerprint),
        ("test_fingerprint", lambda: "abc", HasTestFingerprint),
        ("metadata", {"compressc.data": "mine"}, DescribesInput),
        ("notes", ("two files were skipped",), HasNotes),
        ("sample_validation", lambda samples, seed: None, SamplesValidation),
        ("count_validation", lambda: 7, CountsValidation),
        ("keep_validation", lambda: None, DropsOtherSplits),
    ],
)
def test_one_attribute_is_one_capability(attribute: str, value: object, capability: type):
    task = OnlyScored()
    setattr(task, attribute, value)
    assert offered(task) == {capability}
    # None instead of a method says that a task lacks it.
    setattr(OnlyScored, attribute, None)
    try:
        if callable(value):
            assert offered(OnlyScored()) == set()
    finally:
        delattr(OnlyScored, attribute)
