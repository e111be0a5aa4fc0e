"""Zeros in the weights of an ONNX file, and nothing else changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx
from onnx import numpy_helper

from compressc.array_types import BoolArray
from compressc.contract.weight_choice import KeepsWeights
from compressc.coupling.keep_patterns import check_patterns
from compressc.errors import PlanError
from compressc.layer_names import owner_of
from compressc.verdict import Check
from compressc.whole_files.weights import list_tensors, list_weights


@dataclass(frozen=True, eq=False)
class Zeroed:
    """A file with zeros among its weights.

    Attributes:
        model: the file.
        check: that it is the original but for zeros.
        notes: what the user should know.
    """

    model: onnx.ModelProto
    check: Check
    notes: tuple[str, ...]


def set_zeros(
    original: onnx.ModelProto, choose: KeepsWeights, patterns: Sequence[str] = ()
) -> Zeroed:
    """Return a copy of a file whose smallest weights are zero.

    Args:
        original: with its weights inside; left as it is.
        choose: says which weights stay.
        patterns: layers whose weights all stay.

    Raises:
        CompresscError: if a pattern names no layer.
        PlanError: if there is no weight to choose from.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    weights = list_weights(model)
    check_patterns(list(map(owner_of, weights)), patterns)
    free = {
        name: np.abs(numpy_helper.to_array(tensor).astype(np.float64)).ravel()
        for name, tensor in weights.items()
        if not any(fnmatchcase(owner_of(name), pattern) for pattern in patterns)
    }
    if not free:
        raise PlanError(
            f"{choose.name} finds no weight to work on: the file has no convolution, linear layer "
            "or matrix product with stored weights of floating-point numbers"
        )
    choice = choose.keep_weights(free)
    for name, keep in choice.keep.items():
        tensor = weights[name]
        array = numpy_helper.to_array(tensor)
        zeroed = np.where(keep.reshape(array.shape), array, np.zeros((), array.dtype))
        stored = numpy_helper.from_array(zeroed, tensor.name)
        stored.doc_string = tensor.doc_string
        tensor.CopyFrom(stored)
    return Zeroed(model, check_only_zeros(original, model, choice.keep), choice.notes)


def check_only_zeros(
    original: onnx.ModelProto, result: onnx.ModelProto, keep: Mapping[str, BoolArray]
) -> Check:
    """Judge a file against the one that it was made from.

    Every weight that stays has the bits that it had, every other one is 0, and with the original
    weights put back the two files are the same byte by byte.
    """
    before, after = list_weights(original), list_weights(result)
    restored = onnx.ModelProto()
    restored.CopyFrom(result)
    back = list_weights(restored)
    same, zeros, total = before.keys() == after.keys(), 0, 0
    for name, mask in keep.items() if same else ():
        old, new = (numpy_helper.to_array(side[name]).ravel() for side in (before, after))
        expected = np.where(mask, old, np.zeros((), old.dtype))
        same = same and old.dtype == new.dtype and expected.tobytes() == new.tobytes()
        zeros, total = zeros + int((~mask).sum()), total + mask.size
        back[name].CopyFrom(before[name])
    same = same and _bytes(restored) == _bytes(original)
    text = f"{zeros} of {total} weights in {len(keep)} tensors are 0"
    if not same:
        text = "something else in it differs"
    return Check("file == original but for zeros", same, text, {"zeros": zeros, "weights": total})


def count_zeros(model: onnx.ModelProto) -> int:
    """Return how many stored floating-point elements of a file are 0."""
    arrays = [numpy_helper.to_array(tensor) for tensor in list_tensors(model.graph) if tensor.dims]
    return sum(a.size - int(np.count_nonzero(a)) for a in arrays if a.dtype.kind == "f")


def _bytes(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content
