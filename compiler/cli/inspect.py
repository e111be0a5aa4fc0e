"""``compressc inspect model.pt``: what may be pruned, what not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressc.cli.early_checks import check_early
from compressc.cli.model_options import add_model_options, load_model
from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import Parser
from compressc.cli.unconverted import show_file
from compressc.errors import ConversionError
from compressc.reporting.progress import ProgressDisplay

_EXAMPLES = """\
examples:
  compressc inspect model.pt                      overview, pins by reason, the costliest groups
  compressc inspect model.pt --all                every group and every layer
  compressc inspect model.pt --group 'layer3.*'   these groups with every tensor slice
  compressc inspect model.pt --json > model.json  everything, for programs
  compressc inspect model.pt --graph deps.svg     the network as a picture, what repeats folded
  compressc inspect model.pt --graph deps.graphml  the dependency graph, for networkx and viewers"""


def run(arguments: Sequence[str]) -> int:
    """Print the channel coupling of a model.

    Raises:
        CompresscError: if the model cannot be used.
    """
    parser = Parser(
        prog="compressc inspect",
        description="Show which channels are coupled, which are pinned and why, and where the "
        "MACs are.",
        epilog=_EXAMPLES,
    )
    add_model_options(parser)
    parser.add_argument(
        "--keep", metavar="PATTERN", action="append", default=[], help="as in the main command"
    )
    parser.add_argument("--group", metavar="PATTERN", help="show these groups in detail")
    parser.add_argument("--all", action="store_true", help="list everything")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--graph",
        metavar="FILE",
        help="write values, layers and channel groups as a graph: .svg, .graphml or .json",
    )
    check_early(arguments)
    options = parser.parse_args(list(arguments))
    if options.graph:
        check_outputs([Path(options.graph)], inputs=[Path(options.model)])
    with ProgressDisplay(quiet=options.json) as progress:
        progress(0, 0, f"loading {options.model}")
        from compressc.coupling.graph import couple
        from compressc.coupling.keep_patterns import check_keep_patterns
        from compressc.program import Constraints
        from compressc.reporting.graph_file import check_graph_name, write_graph
        from compressc.reporting.inspection import inspect_program
        from compressc.reporting.inspection_table import print_inspection

        if options.graph:
            check_graph_name(options.graph)
        try:
            program = load_model(options, progress)
        except ConversionError as reason:
            show_file(options, reason)
            return 0
        check_keep_patterns(program, options.keep)
        progress(0, 0, "coupling channels")
        program = program.with_constraints(Constraints(keep=tuple(options.keep)))
        inspection = inspect_program(program)
        if options.graph:
            write_graph(options.graph, couple(program).graph)
    if options.json:
        print(inspection.to_json())
    else:
        print_inspection(inspection, pattern=options.group, everything=options.all)
    return 0
