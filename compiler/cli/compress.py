"""``compressc model.pt --target-flops 0.5 -o small.onnx``: the main job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressc.cli.amounts import parse_target
from compressc.cli.data_options import add_data_options, open_data
from compressc.cli.int8_options import add_int8_options, read_int8
from compressc.cli.model_options import add_model_options, load_model
from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import ChosenPass, Parser, UsageError, add_pass_options, values_of
from compressc.cli.progress import ProgressDisplay
from compressc.errors import OutputError
from compressc.goal import Bound, Goal
from compressc.process_rank import process_rank

if TYPE_CHECKING:
    from compressc.pipeline.driver import Result
    from compressc.pipeline.job import Job
    from compressc.settings import Settings

_TARGETS = {
    "--target-flops": "macs",
    "--target-macs": "macs",
    "--target-params": "params",
    "--target-size": "size_bytes",
}

_EXAMPLES = """\
examples:
  compressc model.pt --target-flops 0.5 -o small.onnx      half the FLOPs
  compressc model.pt --target-latency 0.5 -o small.onnx    half the time of a call, measured
  compressc model.pt --target-latency 5ms@p90 --threads 4 -o small.onnx
  compressc model.pt --target-latency 0.5 --cost-table phone.json -o small.onnx   on a device
  compressc weights.pth --arch resnet50 --target-flops 2G -o small.onnx
  compressc weights.pth --arch mynets:build --input-shape 3,224,224 --target-params 0.4 -o s.onnx
  compressc model.pt2 --target-size 4MB --keep 'head.*' --report small.html -o small.onnx
  compressc model.pt --sparsity 0.9 --storage compact -o sparse.onnx   zeros, smallest file
  compressc model.pt --target-flops 0.5 --data DIR -o small.onnx    accurate, without training
  compressc model.pt --target-flops 0.5 --data DIR --pass surgeon --pass calibrate --pass distill \\
      --epochs 10 -o small.onnx                            and trained, for the last tenths
  compressc model.pt --target-flops 0.5 --data DIR --pass ascai --trials 300 --pass calibrate \\
      -o small.onnx                                        the best of 300 candidates
  compressc model.pt --target-flops 0.5 --int8 --int8-samples inputs.npz -o small.onnx
  compressc inspect model.pt                               what may be pruned, what not, and why
  compressc bench model.onnx small.onnx --threads 1        is it really faster?
  compressc demo                                           all of it, on a model that comes along

A target is the part to keep (0.5, 50%) or an amount (2G, 500M, 4MB). Every result is proven equal
to the pruned original and compared in ONNX Runtime before it is written; a failed check is an
error and leaves no file. With --data, unlabelled samples choose what goes and refit what stays
(--pass surgeon --pass calibrate); without, weights alone are looked at (--pass magnitude)."""


def run(arguments: Sequence[str]) -> int:
    """Run ``compressc compress`` (the word may be left out) and return its exit code.

    Raises:
        CompresscError: if anything is wrong; nothing has been written then.
    """
    parser = build_parser()
    if not {"-h", "--help"}.intersection(arguments) or "--pass" in arguments:
        chosen = _add_passes(parser, arguments)
    else:
        chosen = add_pass_options(parser, {})
    options = parser.parse_args(list(arguments))
    goal = _goal(options)
    if options.cost_table is not None and goal.latency_ms is None:
        raise UsageError("--cost-table says where a --target-latency is meant; give that as well")
    if not goal.bounds and goal.latency_ms is None and not chosen and not options.int8:
        raise UsageError(
            "say how small: --target-flops 0.5 halves the work, --target-latency 0.5 the time, "
            "--target-params and --target-size work alike, --sparsity 0.9 sets weights to zero"
        )
    if process_rank():
        _take_part(options, goal, chosen)
        return 0
    _check_outputs(options)
    with ProgressDisplay(quiet=options.quiet) as progress:
        result = _compress(options, goal, chosen, progress)
        progress(0, 0, "writing")
        written = _write(result, options)
        if options.work_dir is None:
            from compressc.pipeline.saved_pass import remove_saved_passes

            remove_saved_passes(_work_dir(options))
    if not options.quiet:
        from compressc.reporting.table import print_report

        print_report(result.report, written)
    return 0


def help_text(commands: Mapping[str, str]) -> str:
    """Return the help of the whole program: its main form, and the other commands."""
    parser = build_parser()
    add_pass_options(parser, {})
    width = max(len(name) for name in commands)
    lines = [f"  {name:{width}}  {text}" for name, text in commands.items()]
    return parser.format_help() + "\ncommands:\n" + "\n".join(lines)


def build_parser() -> Parser:
    """Return the parser without the options of passes."""
    parser = Parser(
        prog="compressc",
        usage="compressc MODEL --target-flops 0.5 -o small.onnx [options]\n"
        "       compressc {compress,sweep,bench,inspect,passes,demo} --help",
        description="Compress a trained PyTorch model to a smaller and faster ONNX file, with "
        "proof.",
        epilog=_EXAMPLES,
    )
    add_model_options(parser)
    add_data_options(parser)
    group = parser.add_argument_group("how small")
    work = group.add_mutually_exclusive_group()
    work.add_argument("--target-flops", metavar="T", help="FLOPs (2 x MACs) to keep: 0.5, 50%%, 2G")
    work.add_argument("--target-macs", metavar="T", help="the same in MACs")
    group.add_argument("--target-params", metavar="T", help="parameters to keep: 0.5, 10M")
    group.add_argument(
        "--target-latency",
        metavar="T",
        help="time of one call in ONNX Runtime: a ratio such as 0.5 (half the original's), or "
        "5ms, 5ms@p90; the result is measured beside the original",
    )
    group.add_argument(
        "--cost-table",
        metavar="FILE.json",
        help="meet --target-latency on the device where `compressc profile MODEL.onnx "
        "--cost-table FILE.json` wrote this file, instead of on this machine",
    )
    group.add_argument("--target-size", metavar="T", help="size of the ONNX file: 0.25, 4MB")
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
        help="step of channel counts; default: what this machine computes fastest (16 with "
        "AVX-512, else 8)",
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
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FILE", help="the ONNX file")
    output.add_argument("--save", metavar="FILE", help="the compressed model as .pt2, for training")
    output.add_argument("--report", metavar="FILE", help="report as .html or .json")
    output.add_argument(
        "--storage",
        choices=("dense", "compact"),
        default="dense",
        help="compact stores zeros in little space; any ONNX Runtime loads both",
    )
    output.add_argument(
        "--work-dir",
        metavar="DIR",
        help="keeps what finished passes found: a run that was cut off goes on from there when "
        "started again. Default: OUTPUT.state, removed after success",
    )
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_int8_options(parser)
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument("--no-measure", action="store_true", help="skip the latency comparison")
    measuring.add_argument(
        "--threads", metavar="N", type=_positive, default=1, help="of ONNX Runtime (default 1)"
    )
    measuring.add_argument(
        "--batch", metavar="N", type=_positive, default=1, help="inputs per run (default 1)"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return value


def _add_passes(parser: Parser, arguments: Sequence[str]) -> list[ChosenPass]:
    """Import the passes in play and add their options."""
    from compressc.pass_protocol import find_pass
    from compressc.pipeline.default_recipe import choose_recipe

    named = values_of(arguments, "--pass")
    sparse = bool(values_of(arguments, "--sparsity"))
    targets = [flag for flag in _TARGETS if values_of(arguments, flag)]
    latency = bool(values_of(arguments, "--target-latency"))
    if latency:
        targets = ["--target-latency"]
    implied: tuple[str, ...] = ()
    if not named and not (sparse and targets in ([], ["--target-size"])):
        implied = choose_recipe(latency=latency, data=bool(values_of(arguments, "--data")))
    known = [*named, *implied, *(["sparsify"] if sparse else [])]
    classes = {name: find_pass(name) for name in dict.fromkeys(known)}
    return add_pass_options(parser, classes, list(implied) if targets else [])


def _goal(options: argparse.Namespace) -> Goal:
    bounds: dict[str, Bound] = {}
    for flag, what in _TARGETS.items():
        text = getattr(options, flag.lstrip("-").replace("-", "_"))
        if text is None:
            continue
        bound = parse_target(flag, text)
        if flag == "--target-flops" and not bound.relative:
            bound = Bound(bound.value / 2, relative=False)
        bounds[what] = bound
    return Goal(
        macs=bounds.get("macs"),
        params=bounds.get("params"),
        size_bytes=bounds.get("size_bytes"),
        latency_ms=options.target_latency,
        max_drop=options.max_drop,
        trials=options.trials,
        seconds=options.search_seconds,
        seed=options.seed,
    )


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what cannot be written before any work is done."""
    from compressc.reporting.report_file import check_report_name

    paths = [Path(p) for p in (options.output, options.save, options.report) if p]
    if not paths:
        raise UsageError("say where the result goes: -o small.onnx (or --save, --report)")
    if options.output and Path(options.output).suffix in (".pt", ".pt2", ".html", ".json"):
        raise OutputError(
            f"{options.output}: -o writes ONNX; use --save for .pt2 and --report for .html, .json"
        )
    if options.report:
        check_report_name(options.report)
    inputs = [Path(p) for p in (options.model, options.cost_table) if p]
    check_outputs(paths, inputs=inputs)


def _work_dir(options: argparse.Namespace) -> Path:
    """Return where the state of this run goes; the same command finds it again."""
    if options.work_dir is not None:
        return Path(options.work_dir)
    return Path(f"{options.output or options.save or options.report}.state")


def _compress(
    options: argparse.Namespace,
    goal: Goal,
    chosen: Sequence[ChosenPass],
    progress: ProgressDisplay,
) -> Result:
    progress(0, 0, "starting")
    from compressc.pipeline.driver import compress

    job = _read_job(options, goal, chosen, progress)
    return compress(
        job.model,
        goal=goal,
        passes=job.passes,
        task=job.task,
        constraints=job.constraints,
        multiple_of=job.multiple_of,
        settings=job.settings,
        progress=progress,
        work_dir=job.work_dir,
        name=Path(options.model).name,
    )


def _take_part(options: argparse.Namespace, goal: Goal, chosen: Sequence[ChosenPass]) -> None:
    """Train along with the first process, which alone judges, measures and writes."""
    from compressc.pipeline.job import run_job
    from compressc.stages import Stages

    with ProgressDisplay(quiet=True) as progress:
        run_job(_read_job(options, goal, chosen, progress), Stages(progress))


def _read_job(
    options: argparse.Namespace,
    goal: Goal,
    chosen: Sequence[ChosenPass],
    progress: ProgressDisplay,
) -> Job:
    """Load the model and the data."""
    from compressc.pipeline.job import Job
    from compressc.program import Constraints

    settings = _settings(options)
    passes = [one.build() for one in chosen]
    progress(0, 0, f"loading {options.model}")
    program = load_model(options)
    if options.data is not None:
        progress(0, 0, f"reading {options.data}")
    return Job(
        program,
        None,
        goal,
        passes=passes,
        task=open_data(options, program),
        constraints=Constraints(
            keep=tuple(options.keep),
            statistics="frozen" if options.freeze_statistics else "kept",
        ),
        multiple_of=options.multiple_of,
        work_dir=_work_dir(options),
        settings=settings,
    )


def _settings(options: argparse.Namespace) -> Settings:
    from compressc.settings import Settings

    return Settings(
        storage=options.storage,
        measure=not options.no_measure,
        threads=options.threads,
        batch=options.batch,
        cost_table=options.cost_table,
        int8=read_int8(options),
    )


def _write(result: Result, options: argparse.Namespace) -> list[Path]:
    written = []
    if options.output:
        written.append(result.export(options.output))
    if options.save:
        result.program.save(options.save)
        written.append(Path(options.save))
    if options.report:
        from compressc.reporting.report_file import write_report

        write_report(options.report, result.report)
        written.append(Path(options.report))
    sys.stdout.flush()
    return written
