"""torch.export of a module, with every batch size where the module allows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.utils import _pytree as pytree

from compressc.error_text import name_error
from compressc.errors import CaptureError, HandOverError
from compressc.frontend.silence import quiet

BATCH = "batch"
_LARGEST = 65535
# How torch says that a value of the data, or a size, decides which way the program goes.
_DEPENDS_ON_DATA = re.compile(
    r"data-dependent|unbacked|dynamic control flow|Could not (guard|extract)", re.IGNORECASE
)


def export_any_batch(
    model: nn.Module, example_inputs: tuple[Any, ...]
) -> tuple[ExportedProgram, tuple[Any, ...], str]:
    """Export a module so that its batch may be of any size, or else of the examples' size.

    Tensors are looked for in lists, tuples and dicts, too. The first axis of every tensor that is
    as long as the batch varies with it; where torch refuses that, tensors of one axis (a table, a
    size) are left out, as they need not hold one value per sample. A batch of 1, which torch.export
    would write into the graph, is repeated to make a batch of 2.

    Args:
        model: in the mode to be exported.
        example_inputs: positional arguments.

    Returns:
        The exported program, the example inputs that it was exported on, and a note that says why
        the batch is fixed, empty where it is not.

    Raises:
        HandOverError: if the model does not run on the inputs.
        CaptureError: if torch.export refuses the module with a fixed batch, too.
    """
    refusal: CaptureError | None = None
    for inputs, shapes in _attempts(model, example_inputs):
        try:
            return export_module(model, inputs, shapes), inputs, ""
        except CaptureError as error:
            refusal = error
    if refusal is not None:
        # The export fails on bad inputs too; say so instead of blaming the model.
        _check_forward(model, example_inputs)
    exported = export_module(model, example_inputs, None)
    reason = refusal or "no input has an axis for it"
    return exported, example_inputs, f"batch size is fixed: {reason}"


def export_module(
    model: nn.Module, example_inputs: tuple[Any, ...], dynamic_shapes: Any
) -> ExportedProgram:
    """Call torch.export without what it prints.

    Raises:
        CaptureError: if it fails, with the line of the model's code where that is known.
    """
    try:
        with torch.no_grad(), quiet():
            return export(model, example_inputs, dynamic_shapes=dynamic_shapes)
    except Exception as error:
        raise CaptureError(_explain(error)) from error


def _attempts(
    model: nn.Module, example_inputs: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield inputs and ``dynamic_shapes`` to try, the most generous first."""
    size = _batch_of(example_inputs)
    if size is None:
        return
    if size == 1:
        example_inputs, size = pytree.tree_map(_repeat_sample, example_inputs), 2
    tried: list[int] = []
    for least_rank in (1, 2):
        batched = [x for x in _tensors(example_inputs) if x.dim() >= least_rank and len(x) == size]
        if batched and len(batched) not in tried:
            tried.append(len(batched))
            yield example_inputs, _shapes_of(model, example_inputs, batched)


def _shapes_of(model: nn.Module, example_inputs: tuple[Any, ...], batched: list[Tensor]) -> Any:
    batch = Dim(BATCH, min=1, max=_LARGEST)
    shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor in batched:
        shapes[tensor] = {0: batch}
    try:
        return shapes.dynamic_shapes(model, example_inputs)
    except Exception as error:
        # Arguments that do not fit the signature: torch binds them to it before anything runs.
        raise HandOverError(
            f"the model does not take these inputs ({name_error(error)}); give one for each "
            "argument of forward()"
        ) from error


def _tensors(example_inputs: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(example_inputs) if isinstance(x, Tensor)]


def _batch_of(example_inputs: tuple[Any, ...]) -> int | None:
    """Return the length of the first tensor with several axes, else of the first with one."""
    with_axes = [x for x in _tensors(example_inputs) if x.dim()]
    several = [x for x in with_axes if x.dim() > 1]
    return next((len(x) for x in several or with_axes), None)


def _repeat_sample(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == 1:
        return torch.cat([leaf, leaf])
    return leaf


def _check_forward(model: nn.Module, example_inputs: tuple[Any, ...]) -> None:
    shapes = ", ".join(
        str(list(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in example_inputs
    )
    try:
        with torch.no_grad(), quiet():
            model(*example_inputs)
    except Exception as error:
        raise HandOverError(
            f"the model does not run on the example input {shapes}: {name_error(error)}; "
            "give an input that it accepts (--input-shape)"
        ) from error


def _explain(error: BaseException) -> str:
    """Say what torch.export stumbled over, with the user's own source line where it is known."""
    text = str(error)
    said = f"torch.export cannot capture the model{_place(error, text)}: {name_error(error)}"
    if _DEPENDS_ON_DATA.search(text):
        return f"{said}; replace data-dependent control flow there with torch.where or torch.cond"
    if "dynamic_shapes" in text or "specializ" in text:
        return f"{said}; take sizes from the inputs (x.shape[0]) instead of writing them as numbers"
    return said


def _place(error: BaseException, text: str) -> str:
    place = ""
    for match in re.finditer(r'File "([^"]+)", line (\d+), in (\w+)', text):
        if "/torch/" not in match[1]:
            place = f" at {match[1]}:{match[2]} in {match[3]}()"
    if place:
        return place
    match_user = re.search(r"\(([^()\s]+\.py):(\d+) in (\w+)\)", text)
    if match_user:
        return f" at {match_user[1]}:{match_user[2]} in {match_user[3]}()"
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if "/torch/" not in name and "compressc" not in frame.tb_frame.f_globals.get(
            "__name__", ""
        ):
            place = f" at {name}:{frame.tb_lineno} in {frame.tb_frame.f_code.co_name}()"
        frame = frame.tb_next
    return place
