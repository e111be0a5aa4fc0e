"""``compressc expand sparse.onnx -o dense.onnx``: for runtimes of standard operators only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import Parser
from compressc.errors import ExportError
from compressc.reporting.quantities import readable_bytes
from compressc.reporting.terminal_table import print_line
from compressc.runtime.session import check_file
from compressc.storage.expansion import expand
from compressc.writing import write_atomically

_EXAMPLES = """\
example:
  compressc expand sparse.onnx -o dense.onnx

Files of --storage compact unpack their weights with functions that ONNX Runtime inlines. Other
runtimes, such as OpenVINO, may not: the expanded file has the same weights, bit by bit, written
out. Needs no torch."""


def run(arguments: Sequence[str]) -> int:
    """Write the expanded file.

    Raises:
        CompresscError: if the file cannot be read, or the output not be written.
    """
    parser = Parser(
        prog="compressc expand",
        description="Write out the packed weights of a compact ONNX file.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", metavar="FILE.onnx")
    parser.add_argument("-o", "--output", metavar="FILE.onnx", required=True)
    options = parser.parse_whole(arguments)
    output = Path(options.output)
    check_outputs([output], inputs=[Path(options.model)])
    check_file(options.model)
    try:
        model = onnx.load(options.model)
    except Exception as error:
        raise ExportError(f"{options.model}: not a readable ONNX file") from error
    expanded = expand(model)
    write_atomically(output, lambda path: path.write_bytes(expanded.SerializeToString()))
    print_line(f"  wrote {output} ({readable_bytes(output.stat().st_size)})")
    return 0
