"""Capture: from an nn.Module or ExportedProgram to a Program, through torch.export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from compressc.clock import tell
from compressc.error_text import name_error
from compressc.errors import CaptureError, HandOverError
from compressc.frontend.canonical import canonicalize
from compressc.frontend.exporting import BATCH, export_any_batch, export_module
from compressc.frontend.placement import (
    copy_to_cpu,
    move_exported_to_cpu,
    move_inputs_to_cpu,
)
from compressc.frontend.silence import quiet
from compressc.frontend.soundness import check_state, check_statistics
from compressc.graphs.trainable import clone_module
from compressc.program import HistoryLine, Program


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def capture(
    model: nn.Module | onnx.ModelProto,
    example_inputs: tuple[Any, ...] | Tensor | None = None,
    *,
    dynamic_shapes: Any = BATCH,
    input_names: Sequence[str] | None = None,
) -> Program:
    """Capture a model in eval mode.

    Args:
        model: any exportable module; left as it was found, its weights are copied. One that lies
            on a GPU is copied to the CPU, which a note in the program's history says. Or an ONNX
            model with its weights inside, see
            :func:`compressc.frontend.onnx_import.importing.import_model`.
        example_inputs: positional arguments. Tensors in lists and dicts become arguments of their
            own; None, numbers and strings become part of the graph. Of an ONNX model they tell the
            shapes that it leaves open.
        dynamic_shapes: "batch" lets the first axis of every tensor as long as the batch vary, as
            far as the model allows it (a batch of 1 is repeated to 2, as torch.export would write
            a 1 into the graph); None fixes every shape; anything else goes to
            ``torch.export.export`` as it is.
        input_names: names for the ONNX inputs; the forward method's argument names otherwise.

    Raises:
        HandOverError: if the inputs do not fit the model, or the model has integer, complex, NaN
            or infinite weights, weights without data, or cannot be copied to the CPU.
        CaptureError: if torch.export cannot capture the model.
        VerificationError: if an ONNX model computes something else in ONNX Runtime.
    """
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
    if isinstance(model, onnx.ModelProto):
        # The importer captures what it builds, so it stands above this file.
        from compressc.frontend.onnx_import.importing import import_model

        shapes = None if example_inputs is None else [tuple(x.shape[1:]) for x in example_inputs]
        return import_model(model, shapes=shapes)
    if example_inputs is None:
        raise HandOverError("a module needs example inputs: capture(model, (x,))")
    if isinstance(model, torch.jit.ScriptModule):
        raise HandOverError(
            "a TorchScript module cannot be captured; hand over the nn.Module it was made from, "
            "or a .pt2 written by torch.export.save"
        )
    check_state([*model.named_parameters(), *model.named_buffers()])
    model, moved = copy_to_cpu(model)
    example_inputs = move_inputs_to_cpu(example_inputs)
    notes = [moved] if moved else []
    tell("tracing")
    with _evaluating(model):
        if isinstance(dynamic_shapes, str):
            exported, example_inputs, fixed = export_any_batch(model, example_inputs)
            notes += [fixed] if fixed else []
        else:
            exported = export_module(model, example_inputs, dynamic_shapes)
    tell("reading the graph")
    program = _assemble(_unlifted_module(exported), example_inputs, input_names)
    if notes:
        program = program.with_line(HistoryLine("capture", notes=tuple(notes)))
    return program


def capture_sequences(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    input_names: Sequence[str],
    sequences: Sequence[int],
) -> Program:
    """Capture a model whose inputs have a batch, and some of them a length that may vary.

    Args:
        model: takes one tensor for each name.
        example_inputs: the batch first, lengths second.
        input_names: names for the ONNX inputs.
        sequences: places of the inputs whose second axis is that length.

    Raises:
        HandOverError, CaptureError: as :func:`capture`, which is tried where the length is fixed.
    """
    axes = [
        {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if i in sequences else {0: Dim.DYNAMIC}
        for i in range(len(example_inputs))
    ]
    if sequences:
        try:
            return capture(
                model, example_inputs, dynamic_shapes=(tuple(axes),), input_names=input_names
            )
        except CaptureError:
            pass
    return capture(model, example_inputs, input_names=input_names)


def program_from_exported(
    exported: ExportedProgram,
    *,
    example_inputs: tuple[Any, ...] | None = None,
    input_names: Sequence[str] | None = None,
) -> Program:
    """Return the Program of an ExportedProgram; its weights are copied.

    Raises:
        HandOverError: if the weights are integer, complex, NaN or infinite, or no example inputs
            are known.
        CaptureError: if the graph holds something that cannot be unlifted.
    """
    if example_inputs is None:
        recorded = exported.example_inputs
        if recorded is None:
            raise HandOverError(
                "the exported program carries no example inputs; pass --input-shape"
            )
        positional, named = recorded
        if named:
            raise HandOverError(
                f"the exported program takes keyword inputs ({', '.join(named)}); "
                "export it with positional inputs"
            )
        example_inputs = tuple(positional)
    exported, moved = move_exported_to_cpu(exported)
    module = _unlifted_module(exported)
    check_state([*module.named_parameters(), *module.named_buffers()])
    program = _assemble(module, move_inputs_to_cpu(example_inputs), input_names)
    notes = tuple(filter(None, (moved, _fixed_batch(program))))
    return program.with_line(HistoryLine("capture", notes=notes)) if notes else program


def _fixed_batch(program: Program) -> str:
    """Say that a program was exported for one batch size only, and how to export it for any."""
    lengths = [len(x) if x.dim() else None for x in program.example_inputs]
    size = next(filter(None, lengths), None)
    if size is None or any(0 in axes for axes in program.dynamic_axes):
        return ""
    shapes = ", ".join("batch" if length == size else "None" for length in lengths)
    names = ", ".join(program.input_names)
    comma = "," if len(lengths) == 1 else ""
    return (
        f"batch size is fixed at {size}: so the program was exported; for one of any size, use "
        "batch = {0: torch.export.Dim.DYNAMIC}; torch.export.export(model.eval(), "
        f"({names}{comma}), dynamic_shapes=({shapes}{comma})) with a batch of 2 or more"
    )


def _unlifted_module(exported: ExportedProgram) -> fx.GraphModule:
    try:
        with quiet():
            unlifted = exported.module(check_guards=False)
    except Exception as error:
        raise CaptureError(
            f"torch.export's result cannot be unlifted: {name_error(error)}"
        ) from error
    unlifted.graph._tracer_cls = None
    module = clone_module(fx.GraphModule(unlifted, unlifted.graph))
    canonicalize(module)
    return _named_once(module)


def _assemble(
    module: fx.GraphModule, example_inputs: tuple[Any, ...], input_names: Sequence[str] | None
) -> Program:
    module = _with_plain_containers(module)
    check_statistics(module)
    tensors = tuple(x for x in pytree.tree_leaves(example_inputs) if isinstance(x, Tensor))
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    names = tuple(input_names) if input_names else tuple(str(n.target) for n in placeholders)
    if len(names) != len(placeholders):
        raise HandOverError(
            f"{len(names)} input names were given for {len(placeholders)} inputs; name each one"
        )
    return Program(
        graph_module=module,
        example_inputs=tensors,
        dynamic_axes=_dynamic_axes(placeholders, names),
        input_names=names,
        # One graph cannot hold two tensors of one name.
        output_names=tuple(f"{n}_output" if n in names else n for n in _output_names(module)),
    )


def _with_plain_containers(module: fx.GraphModule) -> fx.GraphModule:
    """Return the module with one positional argument per tensor, and builtin containers out.

    Lists and dicts of inputs are taken apart. None, numbers and strings, whose values the export
    has written into the graph, are inputs no longer. Outputs of a library's own class become dicts
    or tuples, so that nobody needs the library to load the result.
    """
    for node in list(module.graph.nodes):
        if node.op == "placeholder" and not isinstance(node.meta.get("val"), Tensor):
            if node.users:
                raise HandOverError(
                    f"input '{node.target}' is not a tensor but the model computes with it; "
                    "hand over a module that takes tensors only"
                )
            module.graph.erase_node(node)
    names = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    given = getattr(module.graph._codegen, "pytree_info", None)
    if given is None:
        return module
    inputs = pytree.tree_structure((tuple(names), {}))
    outputs = given.out_spec
    if outputs is not None:
        outputs = pytree.tree_structure(_builtin(outputs))
    module.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(names, inputs, outputs)))
    return fx.GraphModule(module, module.graph)


def _builtin(spec: pytree.TreeSpec) -> Any:
    """Return an example of a structure made of tuples, lists and dicts, a 0 at each leaf."""
    if spec.is_leaf():
        return 0
    children = [_builtin(child) for child in spec.children()]
    if spec.type is list:
        return children
    names = spec.context
    if isinstance(names, (list, tuple)) and names and isinstance(names[0], (list, tuple)):
        names = names[0]  # dataclasses: fields, then those that are None
    if isinstance(names, (list, tuple)) and len(names) == len(children) and names:
        return dict(zip(names, children, strict=True))
    return tuple(children)


def _named_once(module: fx.GraphModule) -> fx.GraphModule:
    """Return the module with every tied tensor under its first name, and nothing that is unread."""
    first: dict[int, str] = {}
    tensors = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    for name, tensor in tensors.items():
        first.setdefault(id(tensor), name)
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) in tensors:
            node.target = first[id(tensors[str(node.target)])]
    return fx.GraphModule(module, module.graph)


def _dynamic_axes(
    placeholders: Sequence[fx.Node], names: Sequence[str]
) -> tuple[Mapping[int, str], ...]:
    """Name the axes that vary; those that vary together have one name."""
    called: dict[Any, str] = {}
    rows: list[Mapping[int, str]] = []
    for node, name in zip(placeholders, names, strict=True):
        value = node.meta.get("val")
        row: dict[int, str] = {}
        for axis, size in enumerate(value.shape if isinstance(value, Tensor) else ()):
            if isinstance(size, torch.SymInt):
                own = BATCH if axis == 0 else f"{name}_dim{axis}"
                row[axis] = called.setdefault((axis == 0, size.node.expr), own)
        rows.append(row)
    return tuple(rows)


def _output_names(module: fx.GraphModule) -> tuple[str, ...]:
    """Name outputs after the keys of a returned dict, or "output", "output_1", ..."""
    leaves = pytree.tree_leaves(module.graph.output_node().args[0])
    spec = getattr(module.graph._codegen, "pytree_info", None)
    if spec is not None and spec.out_spec is not None and spec.out_spec.type is dict:
        keys = [str(key) for key in spec.out_spec.context]
        if len(keys) == len(leaves):
            return tuple(keys)
    if len(leaves) == 1:
        return ("output",)
    return tuple(f"output_{index}" for index in range(len(leaves)))
