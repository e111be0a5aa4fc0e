"""``compressc profile model.onnx``: where the time goes. Needs no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from compressc.cli.onnx_options import add_shape_option, read_shapes
from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import Parser
from compressc.errors import UsageError
from compressc.reporting.cost_table_summary import print_cost_table
from compressc.reporting.profile_table import print_profile
from compressc.reporting.progress import ProgressDisplay
from compressc.runtime.cost_store import export_table
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.profile_result import Profile
from compressc.runtime.profiling import profile
from compressc.writing import write_text

_EXAMPLES = """\
examples:
  compressc profile model.onnx                      the costliest layers, and what bounds them
  compressc profile model.onnx --all --threads 4
  compressc profile model.onnx --report layers.html --json layers.json
  compressc profile layers.json --report layers.html     drawn here, measured on a device
  compressc profile model.onnx --cost-table device.json     what pruned forms would take here

Layers are what ONNX Runtime executes after its own fusions, timed by its own profiler; MACs are
those of the file's nodes. A layer is bound by memory where moving its bytes takes longer than its
products would at the peak, both measured here in ONNX Runtime before the profile is taken.

A cost table holds the latency of the model's kernels over channel counts at this machine and
thread count. It takes some minutes once; what is measured is kept for the next run, below
~/.cache/compressc."""


def run(arguments: Sequence[str]) -> int:
    """Profile a file and print the table.

    Raises:
        RuntimeFailure: if the file cannot be opened, run or counted.
        CompresscError: if the command line is wrong or an output cannot be written.
    """
    parser = Parser(
        prog="compressc profile",
        description="Show where an ONNX file spends its time in ONNX Runtime, layer by layer.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "model", metavar="FILE", help="an .onnx file, or the .json of an earlier profile"
    )
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="default 1")
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="default 1")
    parser.add_argument("--seconds", metavar="S", type=float, default=5.0, help="default 5")
    add_shape_option(parser)
    parser.add_argument("--all", action="store_true", help="list every layer, in order")
    parser.add_argument("--json", metavar="FILE", help="write everything measured")
    parser.add_argument("--report", metavar="FILE.html", help="write a page with pictures")
    parser.add_argument(
        "--cost-table",
        metavar="FILE.json",
        help="write the latency of the kernels over their widths, instead of a profile",
    )
    parser.add_argument("--fresh", action="store_true", help="measure a kept cost table anew")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(list(arguments))
    outputs = [Path(name) for name in _outputs(options) if name]
    check_outputs(outputs, inputs=[Path(options.model)])
    if options.report and _lacks_matplotlib():
        raise UsageError(
            "--report draws with matplotlib, which is not here: write --json layers.json, and draw "
            "it elsewhere with `compressc profile layers.json --report layers.html`"
        )
    if options.cost_table:
        return _write_cost_table(options)
    result = _read(Path(options.model)) if _is_profile(options.model) else _measure(options)
    if options.json:
        write_text(options.json, result.to_json() + "\n")
    if options.report:
        from compressc.reporting.profile_page import render_profile

        write_text(options.report, render_profile(result))
    print_profile(result, everything=options.all)
    return 0


def _lacks_matplotlib() -> bool:
    try:
        return find_spec("matplotlib") is None
    except ValueError:  # it was taken away from a running interpreter
        return True


def _is_profile(name: str) -> bool:
    return Path(name).suffix.lower() == ".json"


def _read(path: Path) -> Profile:
    """Return a profile that was written before, on this machine or another.

    Raises:
        RuntimeFailure: if there is none.
    """
    try:
        return Profile.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RuntimeFailure(f"{path}: cannot be read ({error}); check the path") from error


def _measure(options: argparse.Namespace) -> Profile:
    with ProgressDisplay(quiet=options.quiet) as progress:
        return profile(
            options.model,
            threads=options.threads,
            batch=options.batch,
            seconds=options.seconds,
            shapes=read_shapes(options),
            progress=progress,
        )


def _outputs(options: argparse.Namespace) -> tuple[str | None, ...]:
    if options.cost_table and (options.json or options.report):
        raise UsageError("--cost-table is written instead of a profile; leave out --json, --report")
    return options.cost_table, options.json, options.report


def _write_cost_table(options: argparse.Namespace) -> int:
    with ProgressDisplay(quiet=options.quiet) as progress:
        progress(0, 0, f"listing the kernels of {options.model}")
        table = export_table(
            options.model,
            options.threads,
            options.batch,
            shapes=read_shapes(options),
            fresh=options.fresh,
            progress=progress,
        )
    write_text(options.cost_table, table.to_json() + "\n")
    print_cost_table(table, options.cost_table)
    return 0
