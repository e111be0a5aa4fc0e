"""ONNX files whose networks cannot be converted: what the commands do with them as they are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressc.cli.int8_options import read_int8
from compressc.cli.parsing import ChosenPass
from compressc.errors import ConversionError
from compressc.goal import Goal

if TYPE_CHECKING:
    from compressc.frontend.input_shape import Shape
    from compressc.whole_files.job import FileJob


def read_file_job(
    options: argparse.Namespace, goal: Goal, chosen: Sequence[ChosenPass], reason: ConversionError
) -> FileJob:
    """Return what is asked for of a file that is taken as it is.

    Args:
        options: of the main command.
        goal: nothing but a seed can be met.
        chosen: the passes; those that zero weights by their sizes alone can run.
        reason: why the file cannot be converted.

    Raises:
        ConversionError: if anything is asked for that needs the network.
        CompresscError: if the options make no sense.
    """
    from compressc.contract.weight_choice import KeepsWeights
    from compressc.frontend.onnx_import.graph import read_graph
    from compressc.frontend.onnx_import.reading import read_model, versions_of
    from compressc.frontend.onnx_import.refusals import find_quantized
    from compressc.settings import Settings
    from compressc.target import read_target
    from compressc.whole_files.job import FileJob, check_fits_file

    passes = [entry.build() for entry in chosen]
    is_npz = options.data is not None and options.data.endswith(".npz")
    samples = Path(options.data) if is_npz else None
    model = read_model(Path(options.model))
    if find_quantized(read_graph(model.graph, versions_of(model))) is not None:
        # Its weights are integers already: zeros or int8 would be those of something else.
        raise reason
    check_fits_file(
        reason,
        [
            ("a target", bool(goal.bounds) or goal.latency_ms is not None),
            ("--max-drop", goal.max_drop is not None),
            ("--save", options.save is not None),
            ("--data but an .npz of inputs", samples is None and options.data is not None),
            ("--engine sparse", options.engine == "sparse"),
            *((f"--pass {p.name}", not isinstance(p, KeepsWeights)) for p in passes),
        ],
    )
    return FileJob(
        model,
        Path(options.model).name,
        _without_path(reason, options.model),
        tuple(passes),
        tuple(options.keep),
        samples,
        given_shapes(options),
        read_target(options.cost_table, options.threads, options.batch, options.engine),
        Settings(
            storage=options.storage,
            measure=not options.no_measure,
            seconds=options.seconds,
            int8=read_int8(options),
        ),
        options.seed,
    )


def show_file(options: argparse.Namespace, reason: ConversionError) -> None:
    """Print what is in a file that cannot be converted, and why nothing can leave it.

    Args:
        options: of ``compressc inspect``.
        reason: why it cannot.

    Raises:
        ConversionError: if channel groups are asked for, which such a file does not have.
    """
    from compressc.whole_files.inspection import inspect_file
    from compressc.whole_files.inspection_table import print_file_inspection

    if options.graph or options.group or options.keep:
        raise reason
    inspection = inspect_file(
        Path(options.model), _without_path(reason, options.model), given_shapes(options)
    )
    if options.json:
        print(inspection.to_json())
    else:
        print_file_inspection(inspection, everything=options.all)


def _without_path(reason: ConversionError, model: str) -> str:
    return str(reason).removeprefix(f"{Path(model)}: ")


def given_shapes(options: argparse.Namespace) -> tuple[Shape, ...] | None:
    """Return the shapes of ``--input-shape``, None without it."""
    from compressc.frontend.input_shape import parse_input_shape

    return parse_input_shape(options.input_shape) if options.input_shape else None
