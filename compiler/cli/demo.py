"""``compressc demo``: the whole job on a model and data that come along."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from compressc.cli.outputs import check_outputs
from compressc.cli.parsing import Parser
from compressc.errors import OutputError, UsageError
from compressc.reporting.progress import ProgressDisplay


def run(arguments: Sequence[str]) -> int:
    """Run the demo and print what was gained and lost.

    Raises:
        CompresscError: if scikit-learn is missing, or a file cannot be written.
    """
    parser = Parser(
        prog="compressc demo",
        description="Compress a trained classifier of handwritten digits to half its MACs, "
        "fine-tune it for\nsome seconds, judge both ONNX files on held-out images and time them "
        "against each other.\nTakes about a minute; needs scikit-learn for the images.",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        default="compressc-demo",
        help="where the two ONNX files and the report go (default compressc-demo)",
    )
    parser.add_argument(
        "--target-flops", metavar="T", type=float, default=0.5, help="share to keep"
    )
    parser.add_argument(
        "--epochs", metavar="N", type=int, default=20, help="of fine-tuning (default 20)"
    )
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="for the benchmark")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of every random choice")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(list(arguments))
    if options.epochs < 0 or options.threads < 1:
        raise UsageError("--epochs must be 0 or more, --threads 1 or more")
    folder = Path(options.output)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose -o") from error
    check_outputs([folder / "original.onnx", folder / "small.onnx", folder / "report.html"])
    try:
        return _compress_digits(options, folder)
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _compress_digits(options: argparse.Namespace, folder: Path) -> int:
    with ProgressDisplay(quiet=options.quiet) as progress:
        progress(0, 0, "loading the digit classifier")
        from compressc.backend.onnx_export import write_onnx
        from compressc.demo import run_demo
        from compressc.reporting.report_file import write_report
        from compressc.reporting.table import print_report

        demo = run_demo(
            macs=options.target_flops,
            epochs=options.epochs,
            threads=options.threads,
            seed=options.seed,
            progress=progress,
        )
        written = [folder / "original.onnx", folder / "small.onnx", folder / "report.html"]
        write_onnx(demo.original_onnx, written[0])
        demo.result.export(written[1])
        write_report(written[2], demo.result.report)
    print_report(demo.result.report, written)
    print()
    print(f"accuracy on {demo.images} held-out images, both files in ONNX Runtime:")
    print(f"  original.onnx                    {demo.accuracy_original:6.2f} %")
    print(f"  pruned, before any training      {demo.accuracy_pruned:6.2f} %")
    print(f"  small.onnx, recovered {options.epochs:3d} epochs {demo.accuracy_recovered:6.2f} %")
    return 0
