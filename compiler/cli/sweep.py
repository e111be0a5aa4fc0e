"""``compressc sweep model.pt --targets 0.7,0.5,0.35 -o FOLDER``: a front of ONNX files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
from compressc.cli.parsing import ChosenPass, Parser, values_of
from compressc.cli.pass_choice import choose_passes
from compressc.cli.recipe_file import recipe_path, write_recipe
from compressc.errors import GoalError, OutputError, UsageError
from compressc.exclusive import exclusive
from compressc.goal import Bound, parse_bound, parse_latency
from compressc.reporting.progress import ProgressDisplay

if TYPE_CHECKING:
    from compressc.sweeping.result import Sweep

_KINDS = {
    "macs": "macs",
    "flops": "macs",
    "params": "params",
    "size": "size_bytes",
    "latency": "latency_ms",
}

_EXAMPLES = """\
examples:
  compressc sweep model.pt --targets 0.7,0.5,0.35 -o front
  compressc sweep model.pt --targets 0.8,0.6 --data DIR --pass surgeon --pass calibrate -o front
  compressc sweep model.pt --target-kind latency --targets 0.7,5ms --int8 --data DIR -o front

The folder gets one verified ONNX file and report per target, sweep.html with the picture, and
sweep.json. All files are timed together, against the original. The same command goes on where a
run was cut off; finished targets are not made again. A target that cannot be met is a line of the
table; it is an error only if none can."""


def run(arguments: Sequence[str]) -> int:
    """Make the front, print its table.

    Raises:
        CompresscError: if anything concerns all targets, or none can be met.
    """
    check_early(arguments)
    parser = _build_parser()
    if not {"-h", "--help"}.intersection(arguments):
        early, _ = parser.peek(arguments)
        _read_targets(early)
        if Path(early.output).is_file():
            raise OutputError(f"{early.output}: is a file; name a folder")
    chosen = _add_passes(parser, arguments)
    options = parser.parse_whole(arguments)
    targets = _read_targets(options)
    folder = Path(options.output)
    with exclusive(folder, folder), ProgressDisplay(quiet=options.quiet) as progress:
        swept = _sweep(options, targets, chosen, progress)
        write_recipe(recipe_path(folder), "sweep", arguments, parser)
    if not options.quiet:
        from compressc.reporting.terminal_table import print_line
        from compressc.sweeping.table import print_sweep

        print_sweep(swept)
        print_line(f"  wrote {folder / 'sweep.html'} and {folder / 'sweep.json'}")
    dead = [row.file for row in swept.met if row.at_chance]
    if dead:
        print(
            f"compressc: warning: {', '.join(dead)}: at chance, so on no front; give --data, or "
            "milder targets",
            file=sys.stderr,
        )
    if not swept.met:
        raise GoalError(f"no target could be met; {swept.rows[1].target}: {swept.rows[1].reason}")
    return 0


def _build_parser() -> Parser:
    parser = Parser(
        prog="compressc sweep",
        description="Compress a model to several targets and time the files against each other.",
        epilog=_EXAMPLES,
    )
    add_input_options(parser)
    group = parser.add_argument_group("how small")
    group.add_argument(
        "--targets",
        metavar="T,T,...",
        required=True,
        help="what to keep: ratios such as 0.5, 50%%, or amounts such as 2G, 4MB, 5ms",
    )
    group.add_argument(
        "--target-kind",
        choices=tuple(_KINDS),
        default="macs",
        help="what targets bound (default macs; flops are 2 x macs)",
    )
    add_cost_table_option(group, "--target-kind latency")
    add_limit_options(group)
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FOLDER", required=True, help="for all files")
    add_form_options(parser, output)
    add_measuring_options(parser, seconds=10.0)
    return parser


def _add_passes(parser: Parser, arguments: Sequence[str]) -> list[ChosenPass]:
    latency = values_of(arguments, "--target-kind")[-1:] == ["latency"]
    return choose_passes(parser, arguments, has_target=True, latency=latency, zeros_may_do=False)


def _read_targets(options: argparse.Namespace) -> list[Bound]:
    if options.cost_table is not None and options.target_kind != "latency":
        raise UsageError("--cost-table needs --target-kind latency")
    texts = [text.strip() for text in options.targets.split(",") if text.strip()]
    if not texts:
        raise UsageError("--targets: give at least one, such as 0.7,0.5,0.35")
    return [_read_target(text, options.target_kind) for text in texts]


def _read_target(text: str, kind: str) -> Bound:
    if kind == "latency":
        bound: Bound | None = parse_latency(text)
        assert bound is not None
        return bound
    bound = parse_bound("--targets", text, of_bytes=kind == "size")
    return Bound(bound.value / 2, False) if kind == "flops" and not bound.relative else bound


def _sweep(
    options: argparse.Namespace,
    targets: Sequence[Bound],
    chosen: Sequence[ChosenPass],
    progress: ProgressDisplay,
) -> Sweep:
    progress(0, 0, "starting")
    from compressc.sweeping.driver import sweep

    job = read_job(options, limits_of(options), chosen, progress, work_dir=None)
    kind = _KINDS[options.target_kind]
    return sweep(job, targets, folder=options.output, kind=kind, progress=progress)
