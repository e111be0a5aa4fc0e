"""Options that describe a job: what compress and sweep have in common, and the Job they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressc.cli.data_options import SYNTHETIC, add_data_options, open_data, read_repair
from compressc.cli.int8_options import add_int8_options, read_int8
from compressc.cli.model_options import add_model_options, load_model
from compressc.cli.parsing import ChosenPass
from compressc.cli.pass_choice import wants_samples
from compressc.goal import Goal
from compressc.reporting.progress import ProgressDisplay

if TYPE_CHECKING:
    from compressc.pipeline.job import Job


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, how it is read, and the data."""
    add_model_options(parser)
    add_data_options(parser)


def add_limit_options(group: argparse._ArgumentGroup) -> None:
    """Add what the result must keep to besides its target, and what a search may spend."""
    group.add_argument(
        "--keep",
        metavar="PATTERN",
        action="append",
        default=[],
        help="layers whose channels all stay (repeatable), such as 'layer4.*'",
    )
    group.add_argument(
        "--multiple-of",
        metavar="N",
        type=int,
        help="step of channel counts; default: what the target machine computes fastest (16 with "
        "AVX-512, else 8), finer where layers are narrow or the target cannot be met closely",
    )
    group.add_argument(
        "--max-drop",
        metavar="POINTS",
        type=float,
        help="points of accuracy that may be lost, judged on the search-validation part of --data; "
        "more is an error and leaves no file",
    )
    group.add_argument(
        "--trials",
        metavar="N",
        type=int,
        help="candidates that a search such as ascai may try; default: what the pass says",
    )
    group.add_argument(
        "--search-seconds", metavar="S", type=float, help="time that a search may take"
    )
    group.add_argument(
        "--freeze-statistics",
        action="store_true",
        help="keep every channel that a layer norm, group norm or the like computes statistics "
        "over; without it they run over the channels that are left",
    )
    group.add_argument("--seed", metavar="N", type=int, default=0, help="of every random choice")


def add_cost_table_option(group: argparse._ArgumentGroup, needs: str) -> None:
    """Add the option that names another device; ``needs`` says what it goes with."""
    group.add_argument(
        "--cost-table",
        metavar="FILE.json",
        help=f"with {needs}: meet it on the device where `compressc profile MODEL.onnx "
        "--cost-table FILE.json` wrote this file, instead of on this machine",
    )


def add_form_options(parser: argparse.ArgumentParser, group: argparse._ArgumentGroup) -> None:
    """Add in which form the file is written: storage and precision."""
    group.add_argument(
        "--storage",
        choices=("dense", "compact"),
        default="dense",
        help="compact stores zeros in little space; any ONNX Runtime loads both",
    )
    group.add_argument(
        "--engine",
        choices=("onnxruntime", "sparse"),
        default="onnxruntime",
        help="what will run the file: sparse writes parts of it as nodes that compressc's engine "
        "runs without multiplying by zeros; stock ONNX Runtime runs them dense",
    )
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_int8_options(parser)


def add_measuring_options(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Add how files are timed, for ``seconds`` unless the user says otherwise."""
    group = parser.add_argument_group("measuring")
    group.add_argument("--no-measure", action="store_true", help="skip the latency comparison")
    group.add_argument(
        "--threads", metavar="N", type=_positive, default=1, help="of ONNX Runtime (default 1)"
    )
    group.add_argument(
        "--batch", metavar="N", type=_positive, default=1, help="inputs per run (default 1)"
    )
    group.add_argument(
        "--seconds",
        metavar="S",
        type=_above_zero,
        default=seconds,
        help=f"of timing, all files together (default {seconds:g})",
    )


def read_job(
    options: argparse.Namespace,
    goal: Goal,
    chosen: Sequence[ChosenPass],
    progress: ProgressDisplay,
    work_dir: Path | None,
) -> Job:
    """Load the model and the data, and return what is asked for.

    Args:
        options: of a parser with all the options above.
        goal: bounds, budget and seed.
        chosen: the passes, in order.
        progress: says what is being read.
        work_dir: where passes keep state that lets them resume.

    Raises:
        CompresscError: if the model or the data cannot be used, or options do not fit together.
    """
    from compressc.pipeline.job import Job
    from compressc.program import Constraints
    from compressc.settings import Settings
    from compressc.target import read_target

    settings = Settings(
        storage=options.storage,
        measure=not options.no_measure,
        seconds=options.seconds,
        int8=read_int8(options),
    )
    target = read_target(options.cost_table, options.threads, options.batch, options.engine)
    passes = [entry.build() for entry in chosen]
    program = load_model(options, progress)
    if options.data not in (None, SYNTHETIC):
        progress(0, 0, f"reading {options.data}")
    return Job(
        program,
        goal,
        passes=passes,
        task=open_data(options, program),
        constraints=Constraints(
            keep=tuple(options.keep),
            statistics="frozen" if options.freeze_statistics else "kept",
        ),
        multiple_of=options.multiple_of,
        target=target,
        settings=settings,
        work_dir=work_dir,
        name=Path(options.model).name,
        repair=read_repair(options, wants_samples(chosen)),
    )


def limits_of(options: argparse.Namespace) -> Goal:
    """Return a goal without bounds: what may be lost, what a search may spend, the seed."""
    return Goal(
        max_drop=options.max_drop,
        trials=options.trials,
        seconds=options.search_seconds,
        seed=options.seed,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return value


def _above_zero(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value
