"""``compressc sweep model.pt --targets 0.7,0.5,0.35 -o FOLDER``: a front of ONNX files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressc.cli.amounts import parse_target
from compressc.cli.data_options import add_data_options, open_data
from compressc.cli.int8_options import add_int8_options, read_int8
from compressc.cli.model_options import add_model_options, load_model
from compressc.cli.parsing import ChosenPass, Parser, UsageError, add_pass_options, values_of
from compressc.cli.progress import ProgressDisplay
from compressc.errors import GoalError, OutputError
from compressc.goal import Bound, parse_latency

if TYPE_CHECKING:
    from compressc.settings import Settings
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
    parser = _build_parser()
    chosen = _add_passes(parser, arguments)
    options = parser.parse_args(list(arguments))
    targets = _read_targets(options)
    folder = Path(options.output)
    if folder.is_file():
        raise OutputError(f"{folder}: is a file; name a folder")
    with ProgressDisplay(quiet=options.quiet) as progress:
        found = _sweep(options, targets, chosen, progress)
    if not options.quiet:
        from compressc.reporting.sweep_table import print_sweep
        from compressc.reporting.terminal_table import print_line

        print_sweep(found)
        print_line(f"  wrote {folder / 'sweep.html'} and {folder / 'sweep.json'}")
    if not found.met:
        raise GoalError(f"no target could be met; {found.rows[1].target}: {found.rows[1].reason}")
    return 0


def _build_parser() -> Parser:
    parser = Parser(
        prog="compressc sweep",
        description="Compress a model to several targets and time the files against each other.",
        epilog=_EXAMPLES,
    )
    add_model_options(parser)
    add_data_options(parser)
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
    group.add_argument(
        "--cost-table",
        metavar="FILE.json",
        help="with --target-kind latency: the device that is meant, see `compressc --help`",
    )
    group.add_argument(
        "--keep",
        metavar="PATTERN",
        action="append",
        default=[],
        help="layers whose channels all stay (repeatable)",
    )
    group.add_argument("--multiple-of", metavar="N", type=int, help="step of channel counts")
    group.add_argument(
        "--max-drop",
        metavar="POINTS",
        type=float,
        help="points of accuracy that each target may lose on search-validation",
    )
    group.add_argument(
        "--freeze-statistics",
        action="store_true",
        help="keep every channel that a layer norm or the like computes statistics over",
    )
    group.add_argument("--seed", metavar="N", type=int, default=0, help="of every random choice")
    add_int8_options(parser)
    output = parser.add_argument_group("output and measuring")
    output.add_argument("-o", "--output", metavar="FOLDER", required=True, help="for all files")
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")
    output.add_argument("--no-measure", action="store_true", help="do not time the files")
    output.add_argument("--threads", metavar="N", type=int, default=1, help="default 1")
    output.add_argument("--batch", metavar="N", type=int, default=1, help="default 1")
    output.add_argument(
        "--seconds", metavar="S", type=float, default=10.0, help="of timing, at least 3 per file"
    )
    return parser


def _add_passes(parser: Parser, arguments: Sequence[str]) -> list[ChosenPass]:
    from compressc.pass_protocol import find_pass

    classes = {name: find_pass(name) for name in dict.fromkeys(values_of(arguments, "--pass"))}
    return add_pass_options(parser, classes, [])


def _read_targets(options: argparse.Namespace) -> list[Bound]:
    if options.threads < 1 or options.batch < 1 or not options.seconds > 0:
        raise UsageError("--threads and --batch must be 1 or more, --seconds above 0")
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
    bound = parse_target("--targets", text)
    return Bound(bound.value / 2, False) if kind == "flops" and not bound.relative else bound


def _sweep(
    options: argparse.Namespace,
    targets: Sequence[Bound],
    chosen: Sequence[ChosenPass],
    progress: ProgressDisplay,
) -> Sweep:
    progress(0, 0, "starting")
    from compressc.goal import Goal
    from compressc.program import Constraints
    from compressc.sweeping.driver import sweep

    passes: list[Any] = [one.build() for one in chosen]
    settings = _settings(options)
    progress(0, 0, f"loading {options.model}")
    program = load_model(options)
    if options.data is not None:
        progress(0, 0, f"reading {options.data}")
    return sweep(
        program,
        targets=targets,
        folder=options.output,
        kind=_KINDS[options.target_kind],
        passes=passes or None,
        task=open_data(options, program),
        constraints=Constraints(
            keep=tuple(options.keep),
            statistics="frozen" if options.freeze_statistics else "kept",
        ),
        multiple_of=options.multiple_of,
        settings=settings,
        goal=Goal(max_drop=options.max_drop, seed=options.seed),
        progress=progress,
        name=Path(options.model).name,
    )


def _settings(options: argparse.Namespace) -> Settings:
    from compressc.settings import Settings

    return Settings(
        measure=not options.no_measure,
        threads=options.threads,
        batch=options.batch,
        seconds=options.seconds,
        int8=read_int8(options),
        cost_table=options.cost_table,
    )
