"""Export: a Program as one ONNX file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import fx
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from compressc.backend.attention_rank import with_head_axis
from compressc.backend.kept_node_export import choose_opset, is_stand_in, put_back, with_stand_ins
from compressc.backend.onnx_names import name_like_modules
from compressc.backend.onnx_optimization import optimize
from compressc.backend.onnx_tidying import tidy
from compressc.choices.decided import check_decided
from compressc.clock import tell
from compressc.dynamic_axes import symbol_of
from compressc.error_text import quote_error
from compressc.errors import ExportError
from compressc.frontend.silence import quiet
from compressc.kept_nodes import OPSET
from compressc.plan import Plan
from compressc.program import Program
from compressc.storage.compact_storage import compact
from compressc.writing import write_atomically

# The oldest opset the exporter writes natively: every runtime since 2023 reads it, and ONNX
# Runtime runs the same kernels for it as for newer ones.
DEFAULT_OPSET = OPSET
# Protocol buffers, and so an ONNX file without external data, end at 2 GiB.
MAX_FILE_BYTES = 2**31 - 1


def export_onnx(
    program: Program,
    *,
    opset: int = DEFAULT_OPSET,
    storage: str = "dense",
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return the program as an ONNX model with readable names and dynamic axes.

    Nodes are called after the layers they came from (``layer1.0.conv1/Conv``), initializers after
    the parameters, inputs and outputs and dynamic axes as the program says. Batch norms that
    follow a convolution are folded into it.

    Args:
        program: what to export; a pending plan must have been lowered before.
        opset: ONNX operator set, 18 or newer.
        storage: "dense", or "compact" for the smallest file with the same outputs.
        metadata: written to the model's ``metadata_props``.

    Raises:
        ExportError: if the exporter does not support an operation or the arguments are wrong.
        ChoiceError: if an architecture choice is undecided.
    """
    if storage not in ("dense", "compact"):
        raise ExportError(f"storage '{storage}' does not exist; choose dense or compact")
    if opset < DEFAULT_OPSET:
        raise ExportError(f"opset {opset} is too old; choose {DEFAULT_OPSET} or newer")
    check_decided(program)
    opset = choose_opset(program, opset)
    program = with_stand_ins(with_head_axis(program))
    tell("tracing")
    exported = _reexport(program)
    _transplant_scopes(program.graph_module.graph, exported.graph)
    model = _translate(program, exported, opset)
    tell("naming and packing")
    tidy(model)
    name_like_modules(model, program)
    _stamp(model, metadata or {})
    if storage == "compact":
        model, _ = compact(model)
    return model


def export_whole(program: Program) -> onnx.ModelProto:
    """Return the network without pending decisions as ONNX, dense, with the usual operator set.

    It is made once, for all constraints; nobody may change it.

    Raises:
        ExportError: as :func:`export_onnx`.
        ChoiceError: if an architecture choice is undecided.
    """
    return program.once_for_all(
        "the original as ONNX", lambda: export_onnx(program.with_plan(Plan()))
    )


def write_onnx(model: onnx.ModelProto, path: str | Path, *, checked: bool = True) -> None:
    """Check a model and write it as one file; a failure leaves what was at ``path`` untouched.

    Args:
        model: with its weights inside.
        path: the file.
        checked: whether onnx's full check has to pass it. ONNX Runtime runs some files of others
            that it does not pass.

    Raises:
        ExportError: if the model is not valid ONNX or larger than 2 GiB.
        OutputError: if the file cannot be written.
    """
    # Summed by hand because protobuf cannot even measure a message over its limit.
    weights_bytes = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights_bytes > MAX_FILE_BYTES or model.ByteSize() > MAX_FILE_BYTES:
        raise ExportError(
            f"{path}: the model holds {weights_bytes / 2**30:.2f} GiB of weights and one ONNX "
            "file ends at 2 GiB; compress further or choose compact storage"
        )

    def write(temporary: Path) -> None:
        temporary.write_bytes(model.SerializeToString())
        if not checked:
            return
        try:
            onnx.checker.check_model(str(temporary), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(
                f"{path}: the exported model is not valid ONNX: {quote_error(error)}; nothing was "
                "written, please report this model"
            ) from error

    write_atomically(path, write)


def _reexport(program: Program) -> ExportedProgram:
    """Trace the graph module again: lowering changed sizes that the graph has to follow."""
    if any(program.dynamic_axes):
        names = {name for axes in program.dynamic_axes for name in axes.values()}
        dims: dict[str, Any] = {name: Dim(symbol_of(name), min=1, max=65535) for name in names}
        attempts = [dims, dict.fromkeys(names, Dim.AUTO)]
    else:
        attempts = [{}]
    failures: list[Exception] = []
    for dims in attempts:
        try:
            with torch.no_grad(), quiet():
                return torch.export.export(
                    program.graph_module,
                    program.example_inputs,
                    dynamic_shapes=_dynamic_shapes(program, dims),
                )
        except Exception as error:  # noqa: BLE001 - torch raises all sorts; it becomes one line
            failures.append(error)
    raise ExportError(
        f"the program cannot be exported again: {quote_error(failures[0])}; verify it before "
        "exporting"
    ) from failures[0]


def _dynamic_shapes(program: Program, dims: Mapping[str, Any]) -> Any:
    leaves, structure = pytree.tree_flatten(tuple(program.example_inputs))
    shapes: list[Any] = [
        {axis: dims[name] for axis, name in axes.items()} if axes else None
        for axes in program.dynamic_axes
    ]
    if len(shapes) != len(leaves):
        raise ExportError(
            f"the program names the dynamic axes of {len(shapes)} inputs but has {len(leaves)} "
            "example inputs; give one mapping per input"
        )
    return pytree.tree_unflatten(shapes, structure)


def _transplant_scopes(source: fx.Graph, target: fx.Graph) -> None:
    """Copy module scopes from the program's nodes to the re-exported ones.

    Tracing a graph module again loses ``nn_module_stack``. Where both graphs hold the same calls
    in the same order it is copied back; otherwise names come from the parameters alone.
    """
    left = [node for node in source.nodes if node.op == "call_function"]
    right = [node for node in target.nodes if node.op == "call_function"]
    if list(map(_compared, left)) != list(map(_compared, right)):
        return
    for old, new in zip(left, right, strict=True):
        if old.meta.get("nn_module_stack"):
            new.meta["nn_module_stack"] = old.meta["nn_module_stack"]


def _compared(node: fx.Node) -> object:
    return is_stand_in if is_stand_in(node) else node.target


def _translate(program: Program, exported: ExportedProgram, opset: int) -> onnx.ModelProto:
    outputs = [
        name
        for name, value in zip(
            program.output_names,
            pytree.tree_leaves(program.graph_module.graph.output_node().args[0]),
            strict=True,
        )
        if value is not None
    ]
    try:
        tell("writing nodes")
        with torch.no_grad(), quiet():
            onnx_program = torch.onnx.export(
                exported,
                dynamo=True,
                external_data=False,
                optimize=False,
                verbose=False,
                opset_version=opset,
            )
            if onnx_program is None:
                raise ExportError("the ONNX exporter returned nothing; report this model")
            tell("simplifying")
            optimize(onnx_program.model, program.input_names, outputs)
            model: onnx.ModelProto = onnx_program.model_proto
            put_back(model)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"the model cannot be written as ONNX opset {opset}: {_root_cause(error)}; "
            "replace the operation it names"
        ) from error
    return model


def _stamp(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    model.producer_name = "compressc"
    try:
        model.producer_version = importlib.metadata.version("compressc")
    except importlib.metadata.PackageNotFoundError:
        model.producer_version = "0"
    onnx.helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})


def _root_cause(error: BaseException) -> str:
    """Return the innermost message: the exporter wraps it in pages of its own."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return quote_error(cause)
