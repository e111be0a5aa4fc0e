"""Compact storage: the smallest ONNX file that stock ONNX Runtime runs with the same bits.

Each floating-point initializer is stored the way that takes the fewest bytes: as it is, as one
repeated value, as a list of nonzeros, or packed (a bitmask or gap codes for the zeros, split
floats for the rest) with a call of a model-local function that rebuilds it from standard
operators. ONNX Runtime does that once, when the session is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import onnx
from onnx import TensorProto, helper

from compressc.errors import ExportError
from compressc.storage import onnx_unpacking as unpacking
from compressc.storage.weight_encodings import (
    FLOAT_TYPES,
    PART_NAMES,
    encode,
    framed_bytes,
    functions_of,
    share_of_zeros,
    worthwhile_kinds,
)

# Below this no encoding pays for its node.
_MIN_BYTES = 64
# Rebuilding costs time and memory whenever the model is loaded, so it has to save this share.
_MIN_SAVING = 0.03
_FUNCTIONS = (unpacking.MASK, unpacking.GAPS, unpacking.FLOATS)

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class StorageChoice:
    """How one initializer is stored.

    Attributes:
        name: the initializer.
        shape: its shape.
        zeros: share of exact +0.0 among its elements, 0 to 1.
        kind: one of ``compressc.storage.weight_encodings.KINDS``.
        dense_bytes: bytes as a plain initializer.
        stored_bytes: bytes as stored, its nodes included, the shared functions not.
    """

    name: str
    shape: tuple[int, ...]
    zeros: float
    kind: str
    dense_bytes: int
    stored_bytes: int


def compact(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[StorageChoice]]:
    """Return the model in its smallest form, and how each floating-point weight is stored.

    Outputs are identical bit by bit, -0.0 and NaN included. Left out are the shapes of
    intermediate values, which every runtime infers, and the metadata of nodes, whose names say
    where they belong.

    Raises:
        ExportError: if the model is compact already.
    """
    if any(function.domain == unpacking.DOMAIN for function in model.functions):
        raise ExportError("the model is compact already; give the dense one")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    definitions: dict[str, onnx.FunctionProto] = {}
    if opset >= unpacking.MIN_OPSET:
        definitions = {name: unpacking.unpacking_function(name, opset) for name in _FUNCTIONS}
    tensors = _storable(model.graph)
    stems = _free_stems(model.graph, tensors)
    sizes = {t.name: _sizes(t, stems[t.name], set(definitions)) for t in tensors}
    costs = {name: framed_bytes(body.ByteSize()) for name, body in definitions.items()}
    kinds = _choose(sizes, costs)
    result = _assemble(model, tensors, kinds, stems, definitions)
    choices = [
        StorageChoice(
            name=tensor.name,
            shape=tuple(tensor.dims),
            zeros=share_of_zeros(tensor),
            kind=kinds[tensor.name],
            dense_bytes=sizes[tensor.name]["dense"],
            stored_bytes=sizes[tensor.name][kinds[tensor.name]],
        )
        for tensor in tensors
    ]
    return result, choices


def _storable(graph: onnx.GraphProto) -> list[TensorProto]:
    """Return the initializers that nothing but nodes of this file reads."""
    public = {value.name for value in (*graph.input, *graph.output)}
    return [
        tensor
        for tensor in graph.initializer
        if tensor.data_type in FLOAT_TYPES
        and tensor.name not in public
        and tensor.data_location != TensorProto.EXTERNAL
    ]


def _free_stems(graph: onnx.GraphProto, tensors: Sequence[TensorProto]) -> dict[str, str]:
    taken = {tensor.name for tensor in graph.initializer}
    taken.update(value.name for value in graph.input)
    taken.update(name for node in graph.node for name in node.output)
    stems: dict[str, str] = {}
    for number, tensor in enumerate(tensors):
        # Short, because a stem is repeated a dozen times per weight.
        stem = f"w{number}"
        while any(f"{stem}/{part}" in taken for part in PART_NAMES):
            stem += "_"
        stems[tensor.name] = stem
    return stems


def _sizes(tensor: TensorProto, stem: str, functions: set[str]) -> Sizes:
    """Return the bytes of each kind that is worth considering."""
    dense_bytes = framed_bytes(tensor.ByteSize())
    sizes = {"dense": dense_bytes}
    if dense_bytes < _MIN_BYTES:
        return sizes
    for kind in worthwhile_kinds(tensor):
        if kind == "dense" or not functions_of(kind) <= functions:
            continue
        encoding = encode(tensor, kind, stem)
        if encoding is not None and encoding.size_bytes <= dense_bytes * (1 - _MIN_SAVING):
            sizes[kind] = encoding.size_bytes
    return sizes


def _choose(sizes: Mapping[str, Sizes], function_costs: Mapping[str, int]) -> dict[str, str]:
    """Return the kind of each tensor such that tensors and functions together are smallest."""
    names = list(function_costs)
    subsets = chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    best: tuple[int, dict[str, str]] | None = None
    for subset in subsets:
        allowed = set(subset)
        kinds = {
            name: min(
                (kind for kind in sizes_by_kind if functions_of(kind) <= allowed),
                key=sizes_by_kind.__getitem__,
            )
            for name, sizes_by_kind in sizes.items()
        }
        total = sum(sizes_by_kind[kinds[name]] for name, sizes_by_kind in sizes.items())
        total += sum(function_costs[name] for name in subset)
        if best is None or total < best[0]:
            best = (total, kinds)
    return {} if best is None else best[1]


def _assemble(
    model: onnx.ModelProto,
    tensors: Sequence[TensorProto],
    kinds: Mapping[str, str],
    stems: Mapping[str, str],
    definitions: Mapping[str, onnx.FunctionProto],
) -> onnx.ModelProto:
    result = _without_weights(model)
    graph = result.graph
    graph.initializer.extend(t for t in model.graph.initializer if t.name not in kinds)
    rebuilding: list[onnx.NodeProto] = []
    for tensor in tensors:
        encoding = encode(tensor, kinds[tensor.name], stems[tensor.name])
        if encoding is None:
            raise ExportError(f"{tensor.name} cannot be stored as {kinds[tensor.name]}")
        graph.initializer.extend(encoding.tensors)
        rebuilding.extend(encoding.nodes)
        if encoding.nodes:
            # Readers that count costs without a runtime find the weight's shape here.
            graph.value_info.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    graph.node.extend([*rebuilding, *model.graph.node])
    for node in graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    used = set().union(*(functions_of(kind) for kind in kinds.values()))
    if used:
        result.functions.extend(definitions[name] for name in sorted(used))
        result.opset_import.add(domain=unpacking.DOMAIN, version=unpacking.DOMAIN_VERSION)
        result.ir_version = max(result.ir_version, unpacking.MIN_IR_VERSION)
    return result


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy everything but initializers, nodes and inferred shapes; the input stays as it is."""
    result = onnx.ModelProto()
    for source, target, left_out in (
        (model, result, {"graph"}),
        (model.graph, result.graph, {"initializer", "node", "value_info"}),
    ):
        for field, value in source.ListFields():
            if field.name in left_out:
                continue
            if isinstance(value, str | int):
                setattr(target, field.name, value)
            else:
                getattr(target, field.name).extend(value)
    return result
