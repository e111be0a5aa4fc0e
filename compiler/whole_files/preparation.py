"""What quantising and packing ask of a file: an operator set of their time, and names of nodes."""

from __future__ import annotations

import onnx
from onnx import version_converter

from compressc.error_text import quote_error
from compressc.errors import ExportError


def in_opset(model: onnx.ModelProto, oldest: int, what: str) -> onnx.ModelProto:
    """Return a model in an operator set of some version at least; itself where it is in one.

    Args:
        model: with its weights inside.
        oldest: the version.
        what: needs it, for the error.

    Raises:
        ExportError: if onnx cannot convert it.
    """
    opset = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), oldest)
    if opset >= oldest:
        return model
    try:
        return version_converter.convert_version(model, oldest)
    except Exception as error:
        raise ExportError(
            f"{what} needs operator set {oldest}, and onnx cannot convert the file from {opset} "
            f"({quote_error(error)}); export it with a newer one, or leave out {what}"
        ) from error


def with_node_names(original: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every node has a name, by which the quantiser tells them apart."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
    return model
