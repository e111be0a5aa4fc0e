"""Reading: an ONNX file or ModelProto, checked before anything in it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, helper

from compressc.errors import HandOverError
from compressc.frontend.onnx_import.functions import inline_functions
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import create_session

# Protocol buffers, and so the part of a model that is not external data, end at 2 GiB.
_MAX_FILE_BYTES = 2**31 - 1
_OLDEST_OPSET = 7
_FIRST_PLAIN_IR = 4
_DAMAGED = "not a readable ONNX file (truncated or damaged); export or download it again"


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external data, which may lie beside it only.

    Raises:
        HandOverError: if the file cannot be read, is damaged, or names data elsewhere.
    """
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise HandOverError("larger than 2 GiB, where ONNX files end; use external data")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, ValueError, RecursionError) as error:
        raise HandOverError(_DAMAGED) from error
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _read_external(tensor, path.parent)
    return model


def check_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose functions are inlined, after its form was checked.

    Raises:
        HandOverError: if it is no network, of unknown versions, or its tensors are malformed.
    """
    if not model.graph.node or not model.graph.output:
        raise HandOverError("an ONNX file without a network in it; export it again")
    _check_versions(model)
    for tensor in _tensors(model):
        _check_tensor(tensor)
    model = _without_initialized_inputs(inline_functions(model))
    # ONNX Runtime is the judge of what is valid, and everything is held against it later.
    try:
        create_session(model.SerializeToString(), "ONNX Runtime", optimize=False)
    except RuntimeFailure as error:
        raise HandOverError(f"it does not load: {error}") from error
    return model


def _without_initialized_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without inputs that an initializer gives a default: they are constants."""
    initialized = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in initialized]
    if len(kept) == len(model.graph.input):
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.input[:]
    fixed.graph.input.extend(kept)
    # Older files have to list every initializer as an input.
    fixed.ir_version = max(fixed.ir_version, _FIRST_PLAIN_IR)
    return fixed


def versions_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return the version of each operator set that the model imports, by domain."""
    return {
        "" if entry.domain == "ai.onnx" else entry.domain: entry.version
        for entry in model.opset_import
    }


def _check_versions(model: onnx.ModelProto) -> None:
    domains = ["" if e.domain == "ai.onnx" else e.domain for e in model.opset_import]
    twice = sorted({domain for domain in domains if domains.count(domain) > 1})
    if twice:
        raise HandOverError(
            f"it imports two operator sets of the domain '{twice[0] or 'ai.onnx'}'; export it again"
        )
    newest = onnx.defs.onnx_opset_version()
    opset = versions_of(model).get("", newest)
    if opset > newest:
        raise HandOverError(
            f"it uses operator set {opset}, newer than the {newest} known here; upgrade onnx and "
            "onnxruntime, or export with a lower opset"
        )
    if opset < _OLDEST_OPSET:
        raise HandOverError(
            f"it uses operator set {opset}, older than {_OLDEST_OPSET}; convert it with "
            "onnx.version_converter, or export it again"
        )
    if model.ir_version > onnx.IR_VERSION:
        raise HandOverError(
            f"its IR version {model.ir_version} is newer than the {int(onnx.IR_VERSION)} known "
            "here; upgrade onnx, or export it with a lower one"
        )


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            nodes.extend(graph.node)
            if graph.sparse_initializer:
                raise HandOverError(
                    "it holds sparse initializers; densify them (onnx.helper) or export it again"
                )
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs.extend(attribute.graphs)
        nodes = []


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Refuse shapes that do not fit the data: they would allocate far more than the file holds."""
    where = f"tensor '{tensor.name}'"
    if any(size < 0 for size in tensor.dims):
        raise HandOverError(f"{where} has a negative size; the file is damaged")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise HandOverError(f"{where} lies in an external file; give the path of the .onnx file")
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError as error:
        raise HandOverError(f"{where} has an unknown type; export the file again") from error
    count = prod(tensor.dims)
    if tensor.HasField("raw_data"):
        bits = _BITS.get(tensor.data_type, dtype.itemsize * 8)
        fits = len(tensor.raw_data) == -(-count * bits // 8)
    else:
        field = helper.tensor_dtype_to_field(tensor.data_type)
        per_element = 2 if dtype.kind == "c" else 1
        stored = len(getattr(tensor, field))
        fits = stored == count * per_element or (tensor.data_type in _BITS and stored <= count)
    if not fits:
        raise HandOverError(
            f"{where} claims {count} values, but not as many are stored; the file is damaged"
        )


_BITS = {
    getattr(onnx.TensorProto, name): 4
    for name in ("INT4", "UINT4", "FLOAT4E2M1")
    if hasattr(onnx.TensorProto, name)
} | {
    getattr(onnx.TensorProto, name): 2
    for name in ("INT2", "UINT2")
    if hasattr(onnx.TensorProto, name)
}


def _read_external(tensor: onnx.TensorProto, folder: Path) -> None:
    """Load external data, from a file in the same folder only."""
    try:
        info = external_data_helper.ExternalDataInfo(tensor)
    except ValueError as error:
        raise HandOverError(
            f"tensor '{tensor.name}' names external data in a malformed way; export the file again"
        ) from error
    location = str(info.location)
    path = folder / location
    if not location or Path(location).name != location or path.is_symlink():
        raise HandOverError(
            f"tensor '{tensor.name}' names external data at '{location}', which is not beside the "
            "file; put both into one folder and write the bare name"
        )
    if not path.is_file():
        raise HandOverError(
            f"its external data '{location}' are missing; put the file that was written with it "
            "into the same folder"
        )
    size = path.stat().st_size
    offset, length = info.offset or 0, info.length
    length = size - offset if length is None else length
    if length < 0 or offset + length > size:
        raise HandOverError(
            f"tensor '{tensor.name}' reads beyond the end of '{location}'; copy the file again"
        )
    with path.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
