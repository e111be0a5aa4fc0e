"""The demo: compress a trained digit classifier, recover its accuracy, compare both files.

Written with the public API only, as an example of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

import compressc
from compressc.backend.onnx_export import export_onnx
from compressc.driver import Result
from compressc.errors import HandOverError
from compressc.models.augmentation import shift_by_one
from compressc.models.checkpoints import Normalization, load_checkpoint
from compressc.models.digits_data import DigitsSplit, digits_split
from compressc.models.registry import weights_path
from compressc.pass_protocol import ignore_progress
from compressc.reporting.report import Metric
from compressc.settings import Settings

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

    result: Result
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
    try:
        digits = digits_split(_SPLIT_SEED)
    except ImportError as error:
        raise HandOverError(str(error)) from error

    program = compressc.load(weights)
    pruned = compressc.compress(
        program,
        goal=compressc.Goal(macs=macs, seed=seed),
        settings=Settings(measure=False, threads=threads),
        progress=progress,
        name=weights.name,
    )
    normalization = load_checkpoint(weights).normalization
    module = fine_tune(pruned.program.module(), digits, normalization, epochs, seed, progress)
    recovered = pruned.with_state(
        module.state_dict(), settings=Settings(threads=threads), progress=progress
    )

    original_onnx = export_onnx(program)
    test_images = normalization.apply(torch.from_numpy(digits.test_images)).numpy()
    before, between, after = (
        accuracy(model, test_images, digits.test_labels)
        for model in (original_onnx, pruned.onnx, recovered.onnx)
    )
    metric = Metric("test accuracy [%]", before, after)
    return DemoResult(
        result=replace(recovered, report=replace(recovered.report, metric=metric)),
        original_onnx=original_onnx,
        accuracy_original=before,
        accuracy_pruned=between,
        accuracy_recovered=after,
        images=len(digits.test_labels),
    )


def accuracy(model: ModelProto, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the percentage of images that an ONNX model classifies correctly.

    Shape:
        images (N, C, H, W), labels (N,).
    """
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    return float(100 * (np.argmax(logits, axis=1) == labels).mean())


def fine_tune(
    module: nn.Module,
    digits: DigitsSplit,
    normalization: Normalization,
    epochs: int,
    seed: int,
    progress: Progress,
) -> nn.Module:
    """Train a pruned classifier for a few epochs; the best on the validation part is returned.

    This is plain PyTorch: a program's module trains like any other.
    """
    val = normalization.apply(torch.from_numpy(digits.val_images))
    val_labels = torch.from_numpy(digits.val_labels)
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    generator = torch.Generator().manual_seed(seed)
    size = 64
    steps = epochs * (len(images) // size)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=max(steps, 1))
    best, best_correct = _copy_of(module), _correct(module, val, val_labels)
    for epoch in range(epochs):
        progress(epoch, epochs, "fine-tuning the pruned model")
        module.train()
        for batch in torch.randperm(len(images), generator=generator).split(size):  # type: ignore[no-untyped-call]
            if len(batch) < size:
                continue
            logits = module(normalization.apply(shift_by_one(images[batch], generator)))
            loss = nn.functional.cross_entropy(logits, labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        correct = _correct(module, val, val_labels)
        if correct >= best_correct:
            best, best_correct = _copy_of(module), correct
    module.load_state_dict(best)
    return module


def _copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _correct(module: nn.Module, images: Tensor, labels: Tensor) -> int:
    module.eval()
    with torch.no_grad():
        return int((module(images).argmax(dim=1) == labels).sum())
