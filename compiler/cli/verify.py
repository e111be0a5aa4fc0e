"""``compressc verify model.onnx reference.npz``: does it compute here what it did there?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressc.cli.onnx_options import add_shape_option, read_shapes
from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import Parser
from compressc.errors import VerificationError
from compressc.reporting.terminal_table import Column, print_line, print_table
from compressc.runtime.verification import (
    DEFAULT_TOLERANCE,
    Verification,
    make_reference,
    verify,
    write_reference,
)
from compressc.writing import write_atomically, write_text

_EXAMPLES = """\
examples:
  compressc verify model.onnx reference.npz --store        where the model is trusted
  compressc verify model.onnx reference.npz                on the device; exit code 6 on a mismatch
  compressc verify small.onnx reference.npz --tolerance 1e-3

The reference is an .npz of arrays called input:NAME and output:NAME. An output passes when no
element differs by more than the tolerance times the output's largest distance from its mean.
Needs no torch."""


def run(arguments: Sequence[str]) -> int:
    """Check a model against its reference, or store one.

    Raises:
        VerificationError: if an output differs by more than the tolerance allows.
        RuntimeFailure: if a file cannot be read or run.
        CompresscError: if the command line is wrong or a file cannot be written.
    """
    parser = Parser(
        prog="compressc verify",
        description="Run an ONNX file on stored inputs and compare with stored outputs.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", metavar="FILE.onnx")
    parser.add_argument("reference", metavar="REFERENCE.npz")
    parser.add_argument(
        "--store", action="store_true", help="run the model here and write the reference"
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=float,
        default=DEFAULT_TOLERANCE,
        help=f"share of an output's scale that it may differ by (default {DEFAULT_TOLERANCE:g})",
    )
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="default 1")
    parser.add_argument("--json", metavar="FILE", help="write the comparison")
    making = parser.add_argument_group("with --store")
    making.add_argument("--batch", metavar="N", type=int, default=2, help="default 2")
    making.add_argument("--seed", metavar="N", type=int, default=0, help="of the inputs")
    add_shape_option(making)
    options = parser.parse_args(list(arguments))
    outputs = [Path(options.json)] if options.json else []
    if options.store:
        outputs.append(Path(options.reference))
    check_outputs(outputs, inputs=[Path(options.model)])
    if options.store:
        arrays = make_reference(
            options.model,
            batch=options.batch,
            seed=options.seed,
            threads=options.threads,
            shapes=read_shapes(options),
        )
        write_atomically(options.reference, lambda path: write_reference(arrays, path))
        print_line(f"wrote {options.reference}: inputs of seed {options.seed} and what they give")
    result = verify(
        options.model, options.reference, tolerance=options.tolerance, threads=options.threads
    )
    if options.json:
        write_text(options.json, result.to_json() + "\n")
    _show(result)
    failed = [output for output in result.outputs if not output.passed]
    if failed:
        raise VerificationError(
            f"{result.path}: output '{failed[0].name}' {failed[0].problem}; "
            f"{len(failed)} of {len(result.outputs)} outputs differ from {result.reference}"
        )
    return 0


def _show(result: Verification) -> None:
    columns = (Column("output", numeric=False), *map(Column, ("shape", "error", "allowed")))
    rows = [
        [
            output.name,
            "x".join(map(str, output.shape)) or "1",
            "-" if output.error is None else f"{output.error:.3g}",
            f"{output.allowed:.3g}",
            "ok" if output.passed else output.problem,
        ]
        for output in result.outputs
    ]
    print_table((*columns, Column("", numeric=False)), rows)
    print_line()
    origin = f"; reference made on {result.made_with}" if result.made_with else ""
    print_line(
        f"  {result.machine.cpu_model}, onnxruntime {result.machine.onnxruntime}, threads "
        f"{result.threads}, tolerance {result.tolerance:g} of the output's spread{origin}"
    )
    for note in result.notes:
        print_line(f"  note: {note}")
