"""``compressc bench a.onnx b.onnx``: time ONNX files against each other. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressc.cli.onnx_options import add_shape_option, read_shapes
from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import Parser
from compressc.reporting.bench_table import print_bench
from compressc.reporting.progress import ProgressDisplay
from compressc.runtime.benchmark import bench
from compressc.writing import write_text

_EXAMPLES = """\
examples:
  compressc bench model.onnx small.onnx --threads 1
  compressc bench model.onnx small.onnx --batch 8 --seconds 30 --json out.json
  compressc bench detector.onnx --shape height=640 --shape width=640

The files take turns in every round, so a machine that slows down slows all of them. The speed-up
is measured against the first file; the range behind it holds 99 % of what chance would give. Any
ONNX file will do, ours or not."""


def run(arguments: Sequence[str]) -> int:
    """Measure and print the table.

    Raises:
        RuntimeFailure: if a file cannot be opened, run or measured.
        CompresscError: if the command line is wrong or the JSON file cannot be written.
    """
    parser = Parser(
        prog="compressc bench",
        description="Time ONNX files in ONNX Runtime, in interleaved rounds.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("files", nargs="+", metavar="FILE.onnx", help="the first is the reference")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="default 1")
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="default 1")
    parser.add_argument("--seconds", metavar="S", type=float, default=10.0, help="default 10")
    parser.add_argument("--rounds", metavar="N", type=int, help="instead of --seconds")
    add_shape_option(parser)
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of inputs (default 0)")
    parser.add_argument("--no-memory", action="store_true", help="skip measuring peak memory")
    parser.add_argument("--json", metavar="FILE", help="write everything measured")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(list(arguments))
    if options.json:
        check_outputs([Path(options.json)], inputs=[Path(file) for file in options.files])
    with ProgressDisplay(quiet=options.quiet) as progress:
        result = bench(
            options.files,
            threads=options.threads,
            batch=options.batch,
            rounds=options.rounds,
            seconds=options.seconds,
            shapes=read_shapes(options),
            seed=options.seed,
            peak_rss=not options.no_memory,
            progress=progress,
        )
    if options.json:
        write_text(options.json, result.to_json() + "\n")
    print_bench(result)
    return 0
