"""Kept nodes: nodes of an ONNX file that stay as they are, because torch has no counterpart.

In a captured graph each is a call of ``compressc::onnx_node``. It runs in ONNX Runtime, or by
ONNX's own definition in float64 for proofs, and is written into the new file as the very node it
was.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from compressc.runtime.session import create_session, run_session

# Read by every runtime that knows the operators.
_IR_VERSION = 8
# What files are written in at least.
OPSET = 18

# A size of an output: fixed, or (input, axis, factor) where it follows the size of an input.
Size = int | tuple[int, int, int]


@dataclass(frozen=True)
class KeptNode:
    """One kept node.

    Attributes:
        operator: as users read it, with its domain.
        proto: the serialised NodeProto in base 64.
        version: of the operator set that it is from.
        places: which of the node's inputs are given, in order.
        dtypes: of the outputs that the node has, as torch calls them.
        shapes: of these outputs.
    """

    operator: str
    proto: str
    version: int
    places: tuple[int, ...]
    dtypes: tuple[str, ...] = ()
    shapes: tuple[tuple[Size, ...], ...] = ()

    def encode(self) -> str:
        """Return it as text, as graphs carry it."""
        return json.dumps(asdict(self), sort_keys=True)

    def node(self) -> onnx.NodeProto:
        """Return the node as it stands in the file."""
        node = onnx.NodeProto()
        node.ParseFromString(base64.b64decode(self.proto))
        return node

    def empty_outputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors of the outputs' shapes and types; their values mean nothing."""
        return [
            torch.empty(_sizes(shape, inputs), dtype=_output_type(dtype, inputs))
            for dtype, shape in zip(self.dtypes, self.shapes, strict=True)
        ]


def decode_node(text: str) -> KeptNode:
    """Return the kept node that a text stands for.

    Raises:
        ValueError: if it stands for none.
    """
    fields = json.loads(text)
    shapes = tuple(
        tuple(tuple(size) if isinstance(size, list) else size for size in shape)
        for shape in fields.pop("shapes")
    )
    places, dtypes = tuple(fields.pop("places")), tuple(fields.pop("dtypes"))
    return KeptNode(**fields, places=places, dtypes=dtypes, shapes=shapes)


def encode_proto(node: onnx.NodeProto) -> str:
    """Return a node as text."""
    return base64.b64encode(node.SerializeToString()).decode()


def needed_opset(kept: KeptNode, opset: int) -> int | None:
    """Return the operator set, ``opset`` or newer, in which a node means what it meant in its file.

    Returns None where there is none.
    """
    node = kept.node()
    if node.domain not in ("", "ai.onnx"):
        return opset
    own = onnx.defs.get_schema(node.op_type, kept.version, "").since_version
    opset = max(opset, own)
    return opset if onnx.defs.get_schema(node.op_type, opset, "").since_version == own else None


def run_kept(kept: KeptNode, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Compute a kept node.

    Raises:
        RuntimeFailure: if ONNX Runtime cannot run it.
    """
    arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
    if any(array.dtype == np.float64 for array in arrays):
        exact = _evaluate_exactly(kept, arrays)
        if exact is not None:
            return exact
        narrow = [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]
        results = run_kept(kept, [torch.from_numpy(array) for array in narrow])
        return [x.double() if x.is_floating_point() else x for x in results]
    types = tuple(helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays)
    session = _open(kept, types, tuple(array.ndim for array in arrays))
    feeds = {f"x{index}": array for index, array in enumerate(arrays)}
    results = run_session(session, feeds, f"the node of {kept.operator}")
    return [torch.from_numpy(np.array(result)) for result in results]


def _evaluate_exactly(kept: KeptNode, arrays: Sequence[Any]) -> list[Tensor] | None:
    """Return the outputs in float64 by ONNX's own definition, None where it has none."""
    types = tuple(helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays)
    try:
        model = _model(kept, types, tuple(array.ndim for array in arrays))
        feeds = {f"x{index}": array for index, array in enumerate(arrays)}
        results = ReferenceEvaluator(model).run(None, feeds)
        return [torch.from_numpy(np.array(result)) for result in results]
    except Exception:  # noqa: BLE001 - definitions exist for some operators and types only
        return None


@functools.lru_cache(maxsize=256)
def _open(kept: KeptNode, types: tuple[int, ...], ranks: tuple[int, ...]) -> Any:
    model = _model(kept, types, ranks)
    return create_session(model.SerializeToString(), f"the node of {kept.operator}")


def _model(kept: KeptNode, types: Sequence[int], ranks: Sequence[int]) -> onnx.ModelProto:
    """Return a model of the node alone."""
    node = kept.node()
    names = ["" for _ in node.input]
    for index, place in enumerate(kept.places):
        names[place] = f"x{index}"
    del node.input[:]
    node.input.extend(names)
    inputs = [
        helper.make_tensor_value_info(f"x{index}", dtype, [None] * rank)
        for index, (dtype, rank) in enumerate(zip(types, ranks, strict=True))
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    opsets = [helper.make_opsetid(node.domain, kept.version)]
    if node.domain:
        opsets.append(helper.make_opsetid("", OPSET))
    graph = helper.make_graph([node], "node", inputs, outputs)
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _sizes(shape: Sequence[Size], inputs: Sequence[Tensor]) -> list[Any]:
    return [
        size if isinstance(size, int) else inputs[size[0]].shape[size[1]] * size[2]
        for size in shape
    ]


def _output_type(name: str, inputs: Sequence[Tensor]) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    doubled = any(x.dtype == torch.float64 for x in inputs)
    return torch.float64 if doubled and dtype.is_floating_point else dtype


@torch.library.custom_op("compressc::onnx_node", mutates_args=())
def onnx_node(inputs: Sequence[Tensor], node: str) -> list[Tensor]:
    """Compute a kept node, given as text."""
    return run_kept(decode_node(node), inputs)


@onnx_node.register_fake
def _(inputs: Sequence[Tensor], node: str) -> list[Tensor]:
    return decode_node(node).empty_outputs(inputs)


# The operation as it stands in captured graphs.
ONNX_NODE = torch.ops.compressc.onnx_node.default
