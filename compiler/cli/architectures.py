"""``compressc architectures``: what ``--arch`` takes by name."""

from __future__ import annotations

import json
from collections.abc import Sequence

from compressc.cli.parsing import Parser
from compressc.models.registry import architectures, weights_path
from compressc.reporting.quantities import readable_count
from compressc.reporting.terminal_table import Column, print_line, print_table


def run(arguments: Sequence[str]) -> int:
    """List the architectures."""
    parser = Parser(
        prog="compressc architectures",
        description="List the architectures that --arch takes by name. Those of libraries are "
        "written timm:NAME, torchvision:NAME or ultralytics:NAME.yaml, your own module:factory.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_whole(arguments)
    known = architectures().values()
    if options.json:
        rows = {
            a.name: {"input_shape": a.input_shape, "params": a.params, "macs": a.macs}
            for a in known
        }
        print(json.dumps(rows, indent=1))
        return 0
    columns = (
        Column("name", numeric=False),
        Column("input"),
        Column("params"),
        Column("MACs"),
        Column("weights"),
        Column("from", numeric=False),
    )
    print_table(
        columns,
        [
            (
                a.name,
                "x".join(map(str, a.input_shape)),
                readable_count(a.params),
                readable_count(a.macs),
                "ship" if weights_path(a.name) else "",
                a.source,
            )
            for a in known
        ],
    )
    print_line("libraries, where installed: timm:NAME, torchvision:NAME, ultralytics:NAME.yaml")
    print_line("your own: module:factory")
    return 0
