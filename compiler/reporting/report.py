"""The report: what a compression did, as one frozen value."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compressc.lowering.folded_constants import FoldedConstants
from compressc.pictures import Picture
from compressc.pipeline.findings import Accuracy, IntegerRow, Metric
from compressc.runtime.bench_result import BenchResult
from compressc.verdict import Verdict


@dataclass(frozen=True)
class Amounts:
    """What one model costs, per sample.

    Attributes:
        macs: multiply-accumulates.
        params: parameter elements.
        size_bytes: bytes of parameters and buffers.
        file_bytes: the ONNX file; None where none was made.
        zeros: of the params, how many are 0.
        file_params: elements of the weights in the ONNX file, where batch norms are folded into
            the layers before them; None where it was not counted.
    """

    macs: int
    params: int
    size_bytes: int
    file_bytes: int | None = None
    zeros: int = 0
    file_params: int | None = None

    @property
    def flops(self) -> int:
        """Floating point operations: two per multiply-accumulate."""
        return 2 * self.macs


@dataclass(frozen=True)
class LayerRow:
    """One layer, before and after; widths are (in, out) channels, latency None if not timed."""

    name: str
    operation: str
    widths_before: tuple[int, int]
    widths_after: tuple[int, int]
    macs_before: int
    macs_after: int
    params_before: int
    params_after: int
    latency_ms_before: float | None = None
    latency_ms_after: float | None = None


@dataclass(frozen=True)
class PassRow:
    """One pass that ran, with its settings."""

    name: str
    settings: Mapping[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockRow:
    """One residual block of the original, and whether it was left out."""

    name: str
    left_out: bool


@dataclass(frozen=True)
class PinRow:
    """A place where channels had to stay, and why."""

    node: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Everything worth knowing about one compression.

    Attributes:
        model: what the user calls the model.
        goal: the bounds asked for, by name.
        before, after: costs.
        layers: layers with weights in graph order.
        passes: what ran, in order.
        pins: where channels had to stay, and why.
        verdict: every check, with its numbers.
        multiple_of: the step of channel counts that was used.
        storage: how weights are stored in the ONNX file.
        seed: seed of every random choice.
        bench: original and compressed file timed in the same rounds, then the compressed one in
            float32 where it is int8; None if not measured.
        metric: the task's metric; None without a task.
        pictures: factors that passes learned, one for each layer.
        blocks: residual blocks of the original in graph order, where some were left out.
        accuracy: what is known of whether the result still does the original's work.
        data: the name of the data set, where it has one.
        machine: fingerprint of the machine that compressed and measured.
        stage_seconds: how long each stage took, in order.
        notes: what the user should know.
        constants: what became of the constants that removed channels carried.
        version: of compressc.
        int8: how it was quantised; None for float32.
    """

    model: str
    goal: Mapping[str, str]
    before: Amounts
    after: Amounts
    layers: tuple[LayerRow, ...]
    passes: tuple[PassRow, ...]
    pins: tuple[PinRow, ...]
    verdict: Verdict
    multiple_of: int
    storage: str
    seed: int
    bench: BenchResult | None = None
    metric: Metric | None = None
    data: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    constants: FoldedConstants = field(default_factory=FoldedConstants)
    version: str = ""
    int8: IntegerRow | None = None
    accuracy: Accuracy | None = None
    pictures: tuple[Picture, ...] = ()
    blocks: tuple[BlockRow, ...] = ()

    def __repr__(self) -> str:
        before, after = self.before, self.after
        macs = f"{100 * after.macs / before.macs:.1f} % of the MACs" if before.macs else "no MACs"
        params = f"{100 * after.params / max(before.params, 1):.1f} % of the params"
        verdict = "verified" if self.verdict.passed else "NOT VERIFIED"
        return f"Report({self.model}: {macs}, {params}, {verdict})"

    def __str__(self) -> str:
        """The table that the command line prints."""
        from compressc.reporting.table import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the before/after table, the speed and the accuracy."""
        from compressc.reporting.table import report_html

        return report_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        document: dict[str, Any] = {"format": "compressc-report-1"}
        for item in dataclasses.fields(self):
            document[item.name] = _plain(getattr(self, item.name))
        document["before"]["flops"] = self.before.flops
        document["after"]["flops"] = self.after.flops
        document["verdict"]["passed"] = self.verdict.passed
        return document

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=1, default=str, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, BenchResult):
        return json.loads(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value
