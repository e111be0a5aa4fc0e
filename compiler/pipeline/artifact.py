"""The artifact: what travels through the pipeline, from the captured model to the measured file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onnx import ModelProto

from compressc.clock import Clock
from compressc.costs import Cost
from compressc.coupling.graph import couple
from compressc.lowering.folded_constants import FoldedConstants
from compressc.pipeline.findings import Accuracy, IntegerRow, Metric
from compressc.pipeline.job import Job
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.runtime.bench_result import BenchResult
from compressc.verdict import Check, Verdict


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds that each layer takes, by its name, in the original and in the result."""

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Artifact:
    """What a job has come to so far; every stage returns a new one.

    Attributes:
        job: what was asked for.
        clock: announces stages and adds up their seconds.
        original: the model as it was captured and constrained.
        program: the model by now.
        channel_step: what channel counts are multiples of.
        may_relax: whether a finer step may be tried: the user asked for none.
        plans: the plans that were applied, one per lowering.
        passes: a line for each pass that ran, in order.
        constants: what became of the constants of removed channels.
        verdict: every check so far; all of them passed.
        notes: what the user should know.
        original_onnx: the original's ONNX file; None where nothing needed it.
        onnx: the result's ONNX file; None before it is exported.
        float_onnx: the same in float32, where ``onnx`` is int8; None otherwise.
        int8: how the file was quantised; None for float32.
        bench: original and result timed against each other; None where not measured.
        layer_times: the same for each layer.
        metric: the task's metric on the test split; None without a task.
        accuracy: what is known of whether the result still does the original's work; None before
            it is judged.
    """

    job: Job
    clock: Clock
    original: Program
    program: Program
    channel_step: int = 1
    may_relax: bool = False
    plans: tuple[Plan, ...] = ()
    passes: tuple[HistoryLine, ...] = ()
    constants: FoldedConstants = field(default_factory=FoldedConstants)
    verdict: Verdict = field(default_factory=Verdict)
    notes: tuple[str, ...] = ()
    original_onnx: ModelProto | None = None
    onnx: ModelProto | None = None
    float_onnx: ModelProto | None = None
    int8: IntegerRow | None = None
    bench: BenchResult | None = None
    layer_times: LayerTimes = field(default_factory=LayerTimes)
    metric: Metric | None = None
    accuracy: Accuracy | None = None

    @property
    def full_cost(self) -> Cost:
        """What the original costs."""
        return couple(self.original).cost(Plan())

    @property
    def file(self) -> ModelProto:
        """The result's ONNX file, for stages behind the export."""
        assert self.onnx is not None
        return self.onnx

    @property
    def predicted(self) -> Mapping[str, float]:
        """What the last pass that aimed at a latency knew of it; empty where none did."""
        aimed = [line.numbers for line in self.passes if "predicted_latency_ms" in line.numbers]
        return aimed[-1] if aimed else {}

    def with_check(self, check: Check) -> Artifact:
        """Return this artifact with one more check.

        Raises:
            VerificationError: if the check failed.
        """
        return replace(self, verdict=self.verdict.with_check(check))

    def with_notes(self, *notes: str) -> Artifact:
        """Return this artifact with more to tell the user; empty texts are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))
