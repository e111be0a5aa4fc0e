"""The demo: compress a trained digit classifier, recover its accuracy, compare both files.

Written with the public API only, as an example of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

import compressc
from compressc.array_types import IntArray
from compressc.clock import ignore_progress
from compressc.errors import HandOverError
from compressc.models.augmentation import shift_by_one
from compressc.models.checkpoints import Normalization, load_checkpoint
from compressc.models.digits_data import digits_split
from compressc.models.registry import weights_path
from compressc.models.training_data import DataSet, Labeled
from compressc.runtime.session import create_session, run_session

ARCHITECTURE = "digits_resnet"
# The split that the shipped weights were trained with: its test part was never trained on.
_SPLIT_SEED = 0

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo found; accuracies in percent of held-out images, in ONNX Runtime.

    Attributes:
        result: the compressed and recovered model; its report carries the metric.
        original_onnx: the original as ONNX.
        accuracy_original, accuracy_pruned, accuracy_recovered: of the three models.
        images: how many held-out images they were judged on.
    """

    result: compressc.Result
    original_onnx: ModelProto
    accuracy_original: float
    accuracy_pruned: float
    accuracy_recovered: float
    images: int


def run_demo(
    *,
    macs: float = 0.5,
    epochs: int = 20,
    threads: int = 1,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> DemoResult:
    """Compress the shipped digit classifier, fine-tune it briefly, and judge all three.

    Args:
        macs: share of the MACs to keep.
        epochs: passes over the training part after pruning; 0 for none.
        threads: for the benchmark.
        seed: of every random choice.
        progress: called with (done, total, text).

    Raises:
        HandOverError: if the weights or scikit-learn are missing.
        CompresscError: as :func:`compressc.compress`.
    """
    weights = weights_path(ARCHITECTURE)
    if weights is None:
        raise HandOverError(f"the weights of {ARCHITECTURE} are missing; reinstall compressc")
    task = digits_task(load_checkpoint(weights).normalization)
    model, goal = compressc.load(weights), compressc.Goal(macs=macs, seed=seed)
    passes: list[str | compressc.Pass] = ["magnitude"]
    if epochs:
        finetune: Any = compressc.find_pass("finetune")
        passes.append(finetune(epochs=epochs, learning_rate=0.05, precision="float32"))
    result = compressc.compress(
        model,
        goal=goal,
        passes=passes,
        task=task,
        target=compressc.Target(threads=threads),
        progress=progress,
        name=weights.name,
    )

    test = task.data.test
    images = task.normalization.apply(test.images).numpy()
    untimed = compressc.Settings(measure=False)
    whole = compressc.compress(model, goal=compressc.Goal(), passes=(), settings=untimed)
    pruned = compressc.compress(model, goal=goal, passes="magnitude", settings=untimed)
    before, between, after = (
        accuracy(each.onnx, images, test.labels.numpy()) for each in (whole, pruned, result)
    )
    return DemoResult(result, whole.onnx, before, between, after, len(test))


def digits_task(normalization: Normalization) -> compressc.ClassificationTask:
    """Return the handwritten digits as a task.

    Raises:
        HandOverError: if scikit-learn is missing.
    """
    try:
        digits = digits_split(_SPLIT_SEED)
    except ImportError as error:
        raise HandOverError(str(error)) from error
    train, val, test = (
        Labeled(torch.from_numpy(images), torch.from_numpy(labels))
        for images, labels in (
            (digits.train_images, digits.train_labels),
            (digits.val_images, digits.val_labels),
            (digits.test_images, digits.test_labels),
        )
    )
    return compressc.ClassificationTask(
        DataSet("handwritten digits", train, val, test, _SPLIT_SEED),
        tuple("0123456789"),
        normalization,
        augmentation=shift_by_one,
        batch_size=64,
        label_smoothing=0.1,
    )


def accuracy(model: ModelProto, images: NDArray[np.float32], labels: IntArray) -> float:
    """Return the percentage of images that an ONNX model classifies correctly.

    Shape:
        images (N, C, H, W), labels (N,).
    """
    session = create_session(model.SerializeToString(), "the digit classifier")
    (logits,) = run_session(session, {session.get_inputs()[0].name: images}, "the digit classifier")
    return float(100 * (np.argmax(logits, axis=1) == labels).mean())
