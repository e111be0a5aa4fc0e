"""``compressc search --space NAME --data DIR``: an architecture that is sparse from the start."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compressc.cli.early_checks import check_data
from compressc.cli.job_options import add_form_options, add_measuring_options
from compressc.cli.outputs import (
    check_result_outputs,
    holding_outputs,
    state_folder,
    write_result,
)
from compressc.cli.parsing import FieldOption, Parser, field_options
from compressc.cli.recipe_file import recipe_path, write_recipe
from compressc.errors import SplitError
from compressc.reporting.progress import ProgressDisplay
from compressc.writing import written_together

if TYPE_CHECKING:
    from compressc.architecture_search import ArchitectureJob
    from compressc.tasks.classification import ClassificationTask

_EXAMPLES = """\
examples:
  compressc search --space enas-micro --data mnist/ --sparsity 0.9 -o net.onnx
  compressc search --space darts --data cifar10/ --sparsity 0.8 --epochs 20 --final-epochs 40 \\
      --report search.html -o net.onnx
  compressc search --space enas-macro --data DIR --sparsity 0 -o dense.onnx    without pruning
  compressc search --space smash --data DIR --workers 4 -o net.onnx            ranked in parallel

spaces: enas-macro (an operation for each layer, and skip connections), enas-micro and darts (a
cell that keeps height and width and one that halves them, repeated), smash (layers between memory
banks). Each has the controller of its paper; --controller takes another one.

No model is needed: an architecture is chosen for what is left of it when most of its weights are
zero. In every epoch shared weights learn on the training split and are pruned, and the controller
learns on the search-validation split; then the best architecture is trained from scratch while its
zeros rise to the same sparsity (--final-...). Filters without a weight leave; other zeros stay,
small with --storage compact and fast with --engine sparse. The test split is seen once, at the end.

The same command goes on where a run was killed; `compressc run net.recipe.toml` repeats it. A whole
search takes minutes to hours: begin with few --layers and --channels, and --epochs 3."""

# Set by options of their own, or by the command itself.
_OWN = {"sparsity", "space", "from_scratch", "skip_first_last", "ema", "patience"}
_FINAL = "final_"


def run(arguments: Sequence[str]) -> int:
    """Search, train, write; print the report.

    Raises:
        CompresscError: if anything is wrong; nothing has been written then.
    """
    parser = build_parser()
    if not {"-h", "--help"}.intersection(arguments):
        early, _ = parser.peek(arguments)
        check_result_outputs(early)
        check_data(arguments)
    settings = add_pass_options(parser)
    options = parser.parse_whole(arguments)
    with (
        holding_outputs(options) as work_dir,
        ProgressDisplay(quiet=options.quiet) as progress,
    ):
        progress(0, 0, "starting")
        from compressc.architecture_search import search_architecture

        result = search_architecture(_read_job(options, settings, progress), progress)
        progress(0, 0, "writing")
        with written_together():
            written = write_result(result, options)
            write_recipe(recipe_path(written[0]), "search", arguments, parser)
        if options.work_dir is None:
            from compressc.pipeline.saved_pass import remove_saved_passes

            remove_saved_passes(work_dir)
    if not options.quiet:
        from compressc.reporting.table import print_report

        print_report(result.report, written)
    return 0


def build_parser() -> Parser:
    """Return the parser without the options of the space and of passes."""
    parser = Parser(
        prog="compressc search",
        description="Search a network whose weights are mostly zero, train it, and write it as "
        "verified ONNX.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--space", metavar="NAME", required=True, help="what to search in")
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        required=True,
        help="labelled images: a folder or .tar.gz with a sub-folder for each class, a folder of "
        "MNIST's IDX files, an .npz, hf:NAME, or module:factory",
    )
    parser.add_argument(
        "--sparsity",
        metavar="S",
        type=float,
        default=0.9,
        help="share of zeros in every layer (default 0.9); 0 searches and trains without pruning",
    )
    parser.add_argument(
        "--trials", metavar="N", type=int, help="architectures that may be ranked, at most"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of every random choice")
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FILE", help="the ONNX file")
    output.add_argument("--save", metavar="FILE", help="the network as .pt2, for later passes")
    output.add_argument("--report", metavar="FILE", help="report as .html or .json")
    output.add_argument(
        "--work-dir",
        metavar="DIR",
        help="for state that lets a killed run go on; default: OUTPUT.state, removed after success",
    )
    add_form_options(parser, output)
    add_measuring_options(parser, seconds=6.0)
    return parser


def add_pass_options(parser: Parser) -> dict[str, Any]:
    """Add the options of the space and of passes; return where settings go, by name."""
    _add_size_options(parser)
    settings: dict[str, Any] = {}
    _add_settings(parser, "the search", "scas", "", settings)
    _add_settings(parser, "the final training", "gradual", _FINAL, settings)
    return settings


def _add_size_options(parser: argparse.ArgumentParser) -> None:
    from compressc.choices.space import SpaceSize

    helps = {
        "layers": "layers, or cells of enas-micro and darts",
        "channels": "channels of a layer, or of a node of a cell",
        "nodes": "nodes of a cell, or memory banks of smash",
        "stem_stride": "of the first convolution; 2 makes everything behind it four times cheaper",
    }
    group = parser.add_argument_group("size of the network")
    for entry in dataclasses.fields(SpaceSize):
        group.add_argument(
            "--" + entry.name.replace("_", "-"),
            metavar="N",
            type=int,
            default=entry.default,
            help=f"{helps[entry.name]} (default {entry.default})",
        )


def _add_settings(
    parser: argparse.ArgumentParser, title: str, name: str, prefix: str, settings: dict[str, Any]
) -> None:
    """Add an option for each hyper-parameter of a pass; it goes into ``settings`` if given."""
    from compressc.cli.passes import explain_fields
    from compressc.contract.registry import find_pass

    pass_class = find_pass(name)
    group = parser.add_argument_group(title)
    helps = explain_fields(pass_class)
    for option in field_options(pass_class):
        if option.field in _OWN:
            continue
        group.add_argument(
            "--" + (prefix + option.field).replace("_", "-"),
            action=_setter(option, prefix, settings),
            metavar=option.form,
            dest=f"_{prefix}{option.field}",
            help=f"{helps.get(option.field, '')} (default {option.shown_default})".replace(
                "%", "%%"
            ),
        )


def _setter(option: FieldOption, prefix: str, settings: dict[str, Any]) -> type[argparse.Action]:
    class Configure(argparse.Action):
        def __call__(self, _parser: Any, _space: Any, value: Any, _option: Any = None) -> None:
            settings[prefix + option.field] = option.read(value)

    return Configure


def _read_job(
    options: argparse.Namespace, settings: dict[str, Any], progress: ProgressDisplay
) -> ArchitectureJob:
    from compressc.architecture_search import ArchitectureJob
    from compressc.choices.space import SpaceSize, find_space
    from compressc.cli.int8_options import read_int8
    from compressc.goal import Goal
    from compressc.settings import Settings
    from compressc.target import read_target

    # Asked for before the data are read.
    find_space(options.space)
    size = SpaceSize(options.layers, options.channels, options.nodes, options.stem_stride)
    progress(0, 0, f"reading {options.data}")
    return ArchitectureJob(
        space=options.space,
        task=_open_data(options),
        sparsity=options.sparsity,
        size=size,
        goal=Goal(trials=options.trials, seed=options.seed),
        search={n: v for n, v in settings.items() if not n.startswith(_FINAL)},
        training={n.removeprefix(_FINAL): v for n, v in settings.items() if n.startswith(_FINAL)},
        target=read_target(None, options.threads, options.batch, options.engine),
        settings=Settings(
            storage=options.storage,
            measure=not options.no_measure,
            seconds=options.seconds,
            int8=read_int8(options),
        ),
        work_dir=state_folder(options),
    )


def _open_data(options: argparse.Namespace) -> ClassificationTask:
    from compressc.datasets.opening import open_task
    from compressc.tasks.classification import ClassificationTask

    task = open_task(options.data, seed=options.seed)
    if not isinstance(task, ClassificationTask):
        raise SplitError(
            f"{options.data}: gives a {type(task).__name__}; a search needs labelled images in "
            "splits (a ClassificationTask)"
        )
    return task
