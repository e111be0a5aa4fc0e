"""Findings: what was found out about the file that was made, as plain values for the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """The task's metric on data that no pass has seen."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Accuracy:
    """What is known of whether the result still does the original's work.

    Attributes:
        text: all of it in one line.
        is_measured: whether that is a metric on a test split with labels.
        is_at_chance: whether the result agrees with the original no more than answers that ignore
            the input would; False where nothing tells.
        agreement: share of inputs with the original's top-1; None where outputs are no logits.
        relative_error: of the worst output, beside what the original's varies by; None where no
            divergence fits the outputs.
        inputs_from: the inputs on which both were compared.
        samples: how many these were.
    """

    text: str
    is_measured: bool = False
    is_at_chance: bool = False
    agreement: float | None = None
    relative_error: float | None = None
    inputs_from: str = ""
    samples: int = 0


@dataclass(frozen=True)
class IntegerRow:
    """How the result was quantised, and what that did to its outputs.

    Attributes:
        precision: of activations and weights, in words.
        calibration_samples: how many inputs the ranges were taken from.
        source: where they came from.
        quantized_nodes: operations that read quantised values.
        float_nodes: layers that were left in float32 on purpose.
        relative_error: of the worst output against float32, beside its variation over samples.
        snr_db: the same in decibels.
        agreement: share of samples with the same top-1 as float32; None where there are no logits.
        float_file_bytes: the same model in float32.
        weight_bits: how many bits of a byte the weights use, 7 or 8.
        runs_on: on which processors the file computes what it should, in words.
        float_metric: the task's metric in float32; None without a task.
    """

    precision: str
    calibration_samples: int
    source: str
    quantized_nodes: int
    float_nodes: tuple[str, ...]
    relative_error: float
    snr_db: float
    agreement: float | None
    float_file_bytes: int
    weight_bits: int
    runs_on: str
    float_metric: float | None = None
