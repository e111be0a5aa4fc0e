"""What a pass made of a program, as a record: decisions and weights, and the graph if it is new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from compressc.pictures import describe_picture, read_picture
from compressc.plan import Plan
from compressc.program import Constraints, HistoryLine, Program
from compressc.store.graph_record import describe_graph, is_same_graph, rebuild_graph
from compressc.store.records import Record

_WEIGHTS, _PLAN = "weights/", "plan/"


def describe_change(before: Program, after: Program) -> Record:
    """Return what turns one program into the other.

    Only what is new is recorded: weights where any changed, the whole graph where its code or a
    shape changed.

    Args:
        before: what a pass was given.
        after: what it returned: a program with the same inputs and outputs.

    Raises:
        ValueError: if the new program has no plain form.
    """
    if _signature(before) != _signature(after):
        raise ValueError("the inputs or outputs of the model changed")
    changed = after.graph_module is not before.graph_module
    graph = None
    if changed and not is_same_graph(before.graph_module, after.graph_module):
        graph = describe_graph(after.graph_module)
    plan, masks = after.plan.pack()
    tensors = {_PLAN + name: torch.from_numpy(mask) for name, mask in masks.items()}
    if changed:
        tensors |= {_WEIGHTS + name: tensor for name, tensor in after.state().items()}
    document = {
        "plan": plan,
        "weights": list(after.state()) if changed else None,
        "graph": graph,
        "constraints": asdict(after.constraints),
        "sparse_weights": list(after.sparse_weights),
        "history": [describe_step(step) for step in after.history[len(before.history) :]],
    }
    return Record(document, tensors)


def apply_change(before: Program, record: Record) -> Program:
    """Return the program that :func:`describe_change` was given as ``after``.

    Raises:
        ValueError, KeyError, TypeError, CompresscError: if the record does not fit the program.
    """
    document, tensors = record.document, record.tensors
    rules = document["constraints"]
    constraints = Constraints(
        tuple(map(str, rules["keep"])), int(rules["multiple_of"]), str(rules["statistics"])
    )
    program = before
    if constraints != before.constraints:
        program = before.with_constraints(constraints)
    if document["weights"] is not None:
        weights = {name: tensors[_WEIGHTS + name] for name in document["weights"]}
        program = _with_weights(program, weights, document["graph"])
    masks = {
        name.removeprefix(_PLAN): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(_PLAN)
    }
    return replace(
        program.with_plan(Plan.unpack(document["plan"], masks)),
        history=(*before.history, *map(read_step, document["history"])),
        sparse_weights=tuple(map(str, document["sparse_weights"])),
    )


def describe_step(step: HistoryLine) -> dict[str, Any]:
    """Return a line of history as a document."""
    return {
        "name": step.name,
        "settings": dict(step.settings),
        "seconds": step.seconds,
        "notes": list(step.notes),
        "numbers": dict(step.numbers),
        "pictures": [describe_picture(picture) for picture in step.pictures],
    }


def read_step(document: Mapping[str, Any]) -> HistoryLine:
    """Return the line of history that :func:`describe_step` described.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: if it is something else.
    """
    notes = tuple(map(str, document["notes"]))
    numbers = {str(name): float(number) for name, number in document["numbers"].items()}
    pictures = tuple(map(read_picture, document["pictures"]))
    name, seconds = str(document["name"]), float(document["seconds"])
    return HistoryLine(name, document["settings"], seconds, notes, numbers, pictures)


def _with_weights(
    program: Program, weights: Mapping[str, Tensor], graph: Mapping[str, Any] | None
) -> Program:
    if graph is None:
        return program.with_state(weights)
    module = rebuild_graph(graph, weights, program.graph_module)
    return replace(program, graph_module=module, plan=Plan(), _derived={})


def _signature(program: Program) -> tuple[Any, ...]:
    shapes = [(tensor.dtype, tensor.shape) for tensor in program.example_inputs]
    axes = [dict(axes) for axes in program.dynamic_axes]
    return shapes, axes, program.input_names, program.output_names
