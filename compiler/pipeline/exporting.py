"""Exporting: from the small program to the ONNX file, compared, quantised, counted and stamped."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

from compressc.backend.onnx_export import export_onnx
from compressc.backend.onnx_tidying import drop_stale_parts
from compressc.backend.quantization import PRECISION
from compressc.costs import Cost
from compressc.coupling.graph import cost_of
from compressc.dynamic_axes import list_axis_sizes
from compressc.errors import ExportError
from compressc.latency.padding_choice import pad_where_faster
from compressc.latency.sparse_choice import choose_sparse_nodes
from compressc.parity.onnx_parity import Parity, compare
from compressc.pipeline.artifact import Artifact
from compressc.pipeline.checks import check_costs, check_parity
from compressc.pipeline.comparisons import count_file
from compressc.pipeline.integer_precision import quantize_export
from compressc.pipeline.judging import bounds_drop, check_int8_accuracy
from compressc.pipeline.stamping import describe_input, stamp
from compressc.runtime.engine.library import engine_info, has_sparse_nodes
from compressc.settings import Settings
from compressc.target import Target
from compressc.verdict import Check

_PARITY_BATCHES = (1, 2, 5)


def export_result(artifact: Artifact) -> Artifact:
    """Export the small program in the storage that was asked for.

    Raises:
        ExportError: if it cannot be written as ONNX.
    """
    model = export_onnx(artifact.program, storage=artifact.job.settings.storage)
    return replace(artifact, onnx=model, float_onnx=None, int8=None)


def may_align(artifact: Artifact) -> bool:
    """Return whether zero channels may be added: where this machine will run the file, as float."""
    settings = artifact.job.settings
    is_plain = settings.int8 is None and settings.storage == "dense" and not is_for_engine(artifact)
    return settings.measure and is_plain and artifact.job.target.is_here


def align_channels(artifact: Artifact) -> Artifact:
    """Add zero channels where they are measured to be faster and the goal allows them."""
    job, program = artifact.job, artifact.program
    padded, remark = pad_where_faster(
        artifact.file,
        job.target.threads,
        job.target.batch,
        list_axis_sizes(program),
        job.settings.seconds / 2,
    )
    candidate = replace(artifact, onnx=padded)
    if not all(check.passed for check in _goal_checks(candidate)):
        return artifact
    return candidate.with_notes(remark)


def compare_with_torch(artifact: Artifact) -> Artifact:
    """Check that ONNX Runtime computes from the file what PyTorch computes from the program.

    Raises:
        VerificationError: if it does not.
    """
    artifact = artifact.with_check(check_parity(_compare(artifact, use_engine=False)))
    if has_sparse_nodes(artifact.file.SerializeToString()) and engine_info().path is not None:
        parity = _compare(artifact, use_engine=True)
        artifact = artifact.with_check(check_parity(parity, "sparse engine"))
    return artifact


def _compare(artifact: Artifact, *, use_engine: bool) -> Parity:
    program = artifact.program
    return compare(
        program.module().eval(),
        artifact.file,
        program.example_inputs,
        batches=_PARITY_BATCHES,
        dynamic_axes=program.dynamic_axes,
        seed=artifact.job.goal.seed,
        use_engine=use_engine,
    )


def check_engine(target: Target, settings: Settings) -> None:
    """Check, before any work, that the engine has what the file is to be.

    Raises:
        ExportError: if it has not.
    """
    if target.engine != "sparse":
        return
    if settings.int8 is not None:
        raise ExportError(
            "the sparse engine has no int8 kernels yet; leave out --int8 or --engine sparse"
        )
    if settings.storage != "dense":
        raise ExportError("sparse nodes store zeros compactly already; leave out --storage compact")


def is_for_engine(artifact: Artifact) -> bool:
    """Return whether the sparse engine will run the file."""
    job = artifact.job
    return job.target.engine == "sparse" and job.settings.storage == "dense"


def write_sparse_nodes(artifact: Artifact) -> Artifact:
    """Turn what the sparse engine runs faster into sparse nodes; the rest stays as it is.

    Raises:
        ExportError: if the engine can run no part of the network.
    """
    job = artifact.job
    choice = choose_sparse_nodes(
        artifact.file,
        job.target.threads,
        job.target.batch,
        list_axis_sizes(artifact.program),
        job.settings.seconds / 2 if job.settings.measure and job.target.is_here else 0.0,
    )
    return replace(artifact, onnx=choice.model).with_notes(*choice.remarks)


def asks_for_int8(artifact: Artifact) -> bool:
    """Return whether the file is to be quantised."""
    return artifact.job.settings.int8 is not None


def quantize_to_int8(artifact: Artifact) -> Artifact:
    """Quantise the file and judge how its outputs drift, and what accuracy it loses.

    Raises:
        DataError: if there is nothing to calibrate on.
        GoalError: if more accuracy is lost than the goal allows.
        VerificationError: if its outputs drift too far.
    """
    job, in_float = artifact.job, artifact.file
    with artifact.clock.stage("quantising to int8"):
        quantized = quantize_export(
            in_float, artifact.program, job.settings, job.task, job.goal.seed, job.target
        )
    artifact = replace(
        artifact, onnx=quantized.model, float_onnx=in_float, int8=quantized.row
    ).with_check(quantized.check)
    artifact = artifact.with_notes(*quantized.notes)
    return check_int8_accuracy(artifact) if bounds_drop(artifact) else artifact


def check_goal(artifact: Artifact) -> Artifact:
    """Check every bound on MACs, params and bytes, by the program and by the file itself.

    Raises:
        VerificationError: if one is not met.
    """
    for check in _goal_checks(artifact):
        artifact = artifact.with_check(check)
    return artifact


def stamp_file(artifact: Artifact) -> Artifact:
    """Write into the file what it is, where it comes from and what was verified."""
    full, cost = artifact.full_cost, cost_of(artifact.program)
    drop_stale_parts(artifact.file)
    artifact.file.doc_string = _sentence(artifact, cost, full)
    stamp(
        artifact.file,
        {
            **describe_input(artifact.original, artifact.job.task),
            "compressc.version": version("compressc"),
            "compressc.proof.double_precision": PRECISION if artifact.int8 else "float32",
            "compressc.macs": str(cost.macs),
            "compressc.params": str(cost.params),
            "compressc.original_macs": str(full.macs),
            "compressc.original_params": str(full.params),
            "compressc.passes": ", ".join(line.name for line in artifact.passes),
            "compressc.seed": str(artifact.job.goal.seed),
            "compressc.plan": ", ".join(plan.digest for plan in artifact.plans),
            "compressc.verified": artifact.verdict.summary(),
            "compressc.accuracy": "" if artifact.accuracy is None else artifact.accuracy.text,
        },
    )
    return artifact


def _sentence(artifact: Artifact, cost: Cost, full: Cost) -> str:
    """Return what the file is, for those who look at it in a viewer."""
    shares = [
        f"{100 * after / before:.1f} % of the {word}"
        for word, after, before in (
            ("MACs", cost.macs, full.macs),
            ("parameters", cost.params, full.params),
        )
        if before
    ]
    kind = "int8" if artifact.int8 else "float32"
    return (
        f"{artifact.job.name}, compressed by compressc {version('compressc')} to "
        f"{' and '.join(shares)} of the original; {kind}; verified against PyTorch. See "
        "metadata_props for what was checked."
    )


def _goal_checks(artifact: Artifact) -> list[Check]:
    before = artifact.original_onnx
    return check_costs(
        artifact.job.goal,
        artifact.full_cost,
        cost_of(artifact.program),
        None if before is None else count_file(before, artifact.original),
        count_file(artifact.file, artifact.program),
    )
