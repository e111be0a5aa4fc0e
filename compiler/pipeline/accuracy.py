"""Accuracy: what can be said of whether the file that is handed over still does its work.

What was proven is that the file computes what the masked original computes. Whether that is still
of any use is another question: a test split with labels answers it, and without one the agreement
with the original on whatever inputs there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from compressc.backend.onnx_module import OnnxModule
from compressc.datasets.synthetic.input_values import draw_input, read_input_kinds
from compressc.errors import DataError
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.findings import Accuracy, Metric
from compressc.pipeline.sample_counting import telling_samples
from compressc.plan import Plan
from compressc.program import Program
from compressc.settings import Int8
from compressc.tasks.agreement import Agreement, Comparison
from compressc.tasks.calibration_samples import draw_samples
from compressc.tasks.capabilities import ComparesWithOriginal, GivesSamples
from compressc.tasks.protocol import Inputs
from compressc.tasks.unlabeled import bound_batch

# Inputs that agreement is measured on where nothing says which.
_SAMPLES = 64
_KNOW = "give --data to know"


@dataclass(frozen=True, eq=False)
class _Compared:
    """How far the result agrees with the original, and on what."""

    agreement: Agreement
    inputs_from: str


def is_unjudged(artifact: Artifact) -> bool:
    """Return whether nothing is known yet of the accuracy of this network."""
    return artifact.accuracy is None


def tell_accuracy(artifact: Artifact) -> Artifact:
    """Add what is known of the accuracy of the file: a metric, or the agreement with the original.

    The int8 file is compared where there is one, with the original and not with what was pruned.
    """
    with artifact.clock.stage("comparing with the original"):
        try:
            compared = _compare(artifact)
        except DataError as problem:
            return replace(artifact, accuracy=_unknown(artifact.metric, problem))
    agreement, metric = compared.agreement, artifact.metric
    if isinstance(artifact.job.task, ComparesWithOriginal):
        metric = Metric(artifact.job.task.metric_name, 100.0, agreement.percent)
    is_measured = artifact.metric is not None
    # Where the original itself answers everything alike, nothing shows.
    dead = agreement.is_at_chance and not agreement.tells_nothing
    accuracy = Accuracy(
        _text(artifact.metric, compared, dead),
        is_measured,
        dead,
        agreement.top1,
        agreement.relative_error,
        compared.inputs_from,
        agreement.samples,
    )
    return replace(artifact, metric=metric, accuracy=accuracy)


def _text(metric: Metric | None, compared: _Compared, dead: bool) -> str:
    agreement = compared.agreement
    on = f"{agreement.samples} {compared.inputs_from}"
    if agreement.top1 is None:
        agrees = f"{agreement.text}, on {on}"
    else:
        agrees = f"agrees with the original on {100 * agreement.top1:.1f} % of {on}"
        agrees += f" (by chance {100 * (agreement.chance or 0):.0f} %)"
    if agreement.tells_nothing:
        agrees += "; the original answers nearly all of them alike, so that tells nothing"
    if dead:
        agrees = f"AT CHANCE: {agrees}"
    if metric is None:
        return f"not measured: {agrees}; {_KNOW}"
    return f"{_measured(metric)}; {agrees}"


def _measured(metric: Metric) -> str:
    change = metric.after - metric.before
    return f"{metric.name} {metric.before:.2f} -> {metric.after:.2f} ({change:+.2f}), measured"


def _unknown(metric: Metric | None, problem: DataError) -> Accuracy:
    if metric is not None:
        return Accuracy(_measured(metric), is_measured=True)
    return Accuracy(f"not measured ({problem})")


def _compare(artifact: Artifact) -> _Compared:
    task = artifact.job.task
    result = _result(artifact)
    if isinstance(task, ComparesWithOriginal):
        with telling_samples(result):
            return _Compared(task.compare(result), task.inputs_from)
    original = replace(artifact.original, plan=Plan())
    teacher, comparison = original.module().eval(), Comparison()
    inputs, inputs_from = _choose_inputs(artifact, original)
    with torch.no_grad(), telling_samples(result):
        for batch in inputs:
            comparison.add(teacher(*batch), result(*batch))
    return _Compared(comparison.agreement(), inputs_from)


def _result(artifact: Artifact) -> nn.Module:
    if artifact.int8 is not None:
        return OnnxModule(artifact.file, artifact.program).eval()
    return artifact.program.module().eval()


def _choose_inputs(artifact: Artifact, original: Program) -> tuple[Iterator[Inputs], str]:
    """Return real inputs where there are any, else random ones; and what they are."""
    job = artifact.job
    if isinstance(job.task, GivesSamples):
        return job.task.calibration_batches(_SAMPLES, job.goal.seed), "training samples"
    int8 = job.settings.int8
    if int8 is not None and int8.samples is not None:
        drawn = draw_samples(original, Int8(int8.samples, _SAMPLES), None, job.goal.seed)
        batches = (tuple(map(torch.from_numpy, feed.values())) for feed in drawn.judging)
        return batches, f"samples of {int8.samples}"
    generator = torch.Generator().manual_seed(job.goal.seed)
    count = bound_batch(original) or _SAMPLES
    kinds = zip(read_input_kinds(original), original.example_inputs, strict=True)
    random = tuple(draw_input(kind, example, count, generator) for kind, example in kinds)
    return iter([random]), "random inputs"
