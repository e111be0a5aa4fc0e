"""``compressc model.pt --target-flops 0.5 -o small.onnx``: the main job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compressc.cli.early_checks import check_early
from compressc.cli.job_options import (
    add_cost_table_option,
    add_form_options,
    add_input_options,
    add_limit_options,
    add_measuring_options,
    limits_of,
    read_job,
)
from compressc.cli.outputs import check_result_outputs, holding_outputs, state_folder, write_result
from compressc.cli.parsing import ChosenPass, Parser, add_pass_options, values_of
from compressc.cli.pass_choice import choose_passes
from compressc.cli.recipe_file import recipe_path, write_recipe
from compressc.errors import ConversionError, UsageError
from compressc.goal import Bound, Goal, parse_bound
from compressc.process_rank import process_rank
from compressc.reporting.progress import ProgressDisplay
from compressc.writing import written_together

if TYPE_CHECKING:
    from compressc.compression import Result
    from compressc.reporting.report import Report
    from compressc.whole_files.compression import FileResult

_TARGETS = {
    "--target-flops": "macs",
    "--target-macs": "macs",
    "--target-params": "params",
    "--target-size": "size_bytes",
}

_EXAMPLES = """\
examples:
  compressc model.pt --target-flops 0.5 -o small.onnx      half the FLOPs, repaired without data
  compressc model.pt --target-flops 0.5 --data DIR -o small.onnx     repaired on your pictures,
      with or without class folders; with them, the accuracy is measured
  compressc model.onnx --target-flops 0.5 -o small.onnx    of an ONNX file
  compressc model.pt --target-latency 0.5 -o small.onnx    half the time of a call, measured
  compressc model.pt --target-latency 5ms@p90 --threads 4 -o small.onnx
  compressc model.pt --target-latency 0.5 --cost-table phone.json -o small.onnx   on a device
  compressc weights.pth --arch resnet50 --target-flops 2G -o small.onnx
  compressc weights.pth --arch mynets:build --input-shape 3,224,224 --target-params 0.4 -o s.onnx
  compressc model.pt2 --target-size 4MB --keep 'head.*' --report small.html -o small.onnx
  compressc model.pt --sparsity 0.9 --storage compact -o sparse.onnx   zeros, smallest file
  compressc model.pt --target-flops 0.5 --data DIR --pass surgeon --pass calibrate --pass distill \\
      --epochs 10 -o small.onnx                            and trained, for the last tenths
  compressc model.pt --target-flops 0.5 --data DIR --pass ascai --trials 300 --pass calibrate \\
      -o small.onnx                                        the best of 300 candidates
  compressc model.pt --target-flops 0.5 --int8 --int8-samples inputs.npz -o small.onnx
  compressc inspect model.pt                               what may be pruned, what not, and why
  compressc bench model.onnx small.onnx --threads 1        is it really faster?
  compressc run small.recipe.toml                          the same again: each run writes one
  compressc demo                                           all of it, on a model that comes along

A target is the part to keep (0.5, 50%) or an amount (2G, 500M, 4MB). Every result is proven equal
to the pruned original and compared in ONNX Runtime before it is written; a failed check is an
error and leaves no file. That is equivalence; what is known of the accuracy stands in a line of its
own. Samples choose what goes and refit what stays (--pass surgeon --pass calibrate): those of
--data, labelled or not, else inputs made from what the batch norms of the model remember of its
training data. --no-repair looks at weights alone (--pass magnitude) and mends nothing."""


def run(arguments: Sequence[str]) -> int:
    """Run ``compressc compress`` (the word may be left out) and return its exit code.

    Raises:
        CompresscError: if anything is wrong; nothing has been written then.
    """
    check_early(arguments)
    parser = build_parser()
    helps = bool({"-h", "--help"}.intersection(arguments))
    if helps and "--pass" not in arguments:
        chosen = add_pass_options(parser, {})
    else:
        if not helps:
            _check_without_passes(parser, arguments)
        chosen = _add_passes(parser, arguments)
    options = parser.parse_whole(arguments)
    options.output = _with_ending(options.output)
    goal = _goal(options)
    _check_asked(options, goal, something=bool(chosen))
    if process_rank():
        # The first process alone proves, measures and writes.
        with ProgressDisplay(quiet=True) as progress:
            from compressc.compression import take_part

            take_part(read_job(options, goal, chosen, progress, state_folder(options)), progress)
        return 0
    with (
        holding_outputs(options) as work_dir,
        ProgressDisplay(quiet=options.quiet) as progress,
    ):
        progress(0, 0, "starting")
        from compressc.compression import run_job

        result: Result | FileResult
        try:
            job = read_job(options, goal, chosen, progress, work_dir)
        except ConversionError as reason:
            from compressc.cli.unconverted import read_file_job
            from compressc.whole_files.compression import compress_file

            result = compress_file(read_file_job(options, goal, chosen, reason), progress)
        else:
            result = run_job(job, progress)
        progress(0, 0, "writing")
        with written_together():
            written = write_result(result, options)
            write_recipe(recipe_path(written[0]), "compress", arguments, parser)
        if options.work_dir is None:
            from compressc.pipeline.saved_pass import remove_saved_passes

            remove_saved_passes(work_dir)
    if not options.quiet:
        from compressc.reporting.table import print_report

        print_report(result.report, written)
    warn_if_dead(result.report, options.output or options.save or options.report)
    return 0


def _check_without_passes(parser: Parser, arguments: Sequence[str]) -> None:
    """Refuse goals and outputs that make no sense, before passes and torch are loaded."""
    options, complete = parser.peek(arguments)
    options.output = _with_ending(options.output)
    _check_asked(options, _goal(options), something=not complete)
    if not process_rank():
        check_result_outputs(options, [Path(p) for p in (options.model, options.cost_table) if p])


def _check_asked(options: argparse.Namespace, goal: Goal, *, something: bool) -> None:
    """Check that there is something to do; ``something`` is whether passes say what."""
    if options.cost_table is not None and goal.latency_ms is None:
        raise UsageError("--cost-table says where a --target-latency is meant; give that as well")
    if not goal.bounds and goal.latency_ms is None and not something and not options.int8:
        raise UsageError(
            "say how small: --target-flops 0.5 halves the work, --target-latency 0.5 the time, "
            "--target-params and --target-size work alike, --sparsity 0.9 sets weights to zero"
        )


def warn_if_dead(report: Report, what: str) -> None:
    """Say on stderr that a result is useless, where that is known; scripts read nothing else."""
    accuracy = report.accuracy
    if accuracy is not None and accuracy.is_at_chance:
        sys.stdout.flush()
        text = " ".join(accuracy.text.split())
        print(
            f"compressc: warning: {what} does not do what the original does: {text}",
            file=sys.stderr,
        )


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
        "       compressc {compress,search,sweep,run,bench,profile,verify,expand,inspect,passes,"
        "architectures,demo} --help",
        description="Compress a trained PyTorch model or ONNX file to a smaller and faster ONNX "
        "file, with proof.",
        epilog=_EXAMPLES,
    )
    add_input_options(parser)
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
    add_cost_table_option(group, "--target-latency")
    group.add_argument("--target-size", metavar="T", help="size of the ONNX file: 0.25, 4MB")
    add_limit_options(group)
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FILE", help="the ONNX file")
    output.add_argument("--save", metavar="FILE", help="the compressed model as .pt2, for training")
    output.add_argument("--report", metavar="FILE", help="report as .html or .json")
    output.add_argument(
        "--work-dir",
        metavar="DIR",
        help="keeps what finished passes found: a run that was cut off goes on from there when "
        "started again. Default: OUTPUT.state, removed after success",
    )
    add_form_options(parser, output)
    add_measuring_options(parser, seconds=6.0)
    return parser


def _add_passes(parser: Parser, arguments: Sequence[str]) -> list[ChosenPass]:
    targets = [flag for flag in _TARGETS if values_of(arguments, flag)]
    latency = bool(values_of(arguments, "--target-latency"))
    return choose_passes(
        parser,
        arguments,
        has_target=bool(targets) or latency,
        latency=latency,
        zeros_may_do=not latency and targets in ([], ["--target-size"]),
    )


def _goal(options: argparse.Namespace) -> Goal:
    bounds: dict[str, Bound] = {}
    for flag, what in _TARGETS.items():
        text = getattr(options, flag.lstrip("-").replace("-", "_"))
        if text is None:
            continue
        bound = parse_bound(flag, text, of_bytes=what == "size_bytes")
        if flag == "--target-flops" and not bound.relative:
            bound = Bound(bound.value / 2, relative=False)
        bounds[what] = bound
    return replace(
        limits_of(options),
        macs=bounds.get("macs"),
        params=bounds.get("params"),
        size_bytes=bounds.get("size_bytes"),
        latency_ms=options.target_latency,
    )


def _with_ending(output: str | None) -> str | None:
    """Return the name of the ONNX file; one without an ending gets one."""
    if not output or Path(output).suffix or Path(output).exists():
        return output
    return f"{output}.onnx"
