"""Files that lie: wrong sizes, indices out of range, cut or overflowing numbers.

Each ends in one line or in a right result, never in a wrong read: ``.ci/sanitize`` runs this file
with the address and undefined-behaviour sanitizers.
"""

import random

import numpy as np
import onnx
import pytest

from compressc.runtime import RuntimeFailure, SparseModel, engine_info
from compressc.runtime.session import create_session
from compressc.sparse_graph.emission import emit_sparse_nodes
from tests.engine_graphs import make_graph

pytestmark = pytest.mark.skipif(
    not engine_info().instruction_sets, reason="no C++ compiler was there at installation"
)
ABSURD = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 64, 2**20, 2**31 - 1, 2**31, 2**40, 2**63 - 1)


def sparse_file(seed: int) -> onnx.ModelProto:
    model = emit_sparse_nodes(make_graph(seed)).model
    assert len(model.graph.node) == 1
    return model


def plan_of(model: onnx.ModelProto) -> onnx.AttributeProto:
    (attribute,) = model.graph.node[0].attribute
    return attribute


def try_out(model: onnx.ModelProto, folder) -> str:
    """Return what the engine says; empty where it ran."""
    path = folder / "hostile.onnx"
    onnx.save(model, path)
    refusal = ""
    try:
        opened = SparseModel(path)
        shape = (2, opened._input_elements[0])
        if shape[1] > 1 << 16:
            return "larger than the test wants"
        opened.run(np.zeros(shape, np.float32))
    except RuntimeFailure as error:
        refusal = str(error)
    assert "\n" not in refusal
    return refusal


@pytest.mark.parametrize("seed", [0, 2, 4, 5, 11, 14])
def test_changed_numbers_are_refused_or_harmless(seed: int, tmp_path) -> None:
    rng = random.Random(seed)
    numbers = list(plan_of(sparse_file(seed)).ints)
    refusals = 0
    for _ in range(80):
        model = sparse_file(seed)
        changed = list(numbers)
        for _ in range(rng.choice([1, 1, 2, 5])):
            changed[rng.randrange(len(changed))] = rng.choice(ABSURD)
        del plan_of(model).ints[:]
        plan_of(model).ints.extend(changed)
        refusals += bool(try_out(model, tmp_path))
    assert refusals > 20


@pytest.mark.parametrize("seed", [0, 5])
def test_every_cut_plan_is_refused(seed: int, tmp_path) -> None:
    numbers = list(plan_of(sparse_file(seed)).ints)
    for length in range(0, len(numbers), 3):
        model = sparse_file(seed)
        del plan_of(model).ints[length:]
        assert try_out(model, tmp_path), f"a plan cut at {length} ran"


@pytest.mark.parametrize("seed", [0, 2, 4, 5])
def test_cut_weights_are_refused(seed: int, tmp_path) -> None:
    count = len(sparse_file(seed).graph.initializer)
    for number in range(count):
        model = sparse_file(seed)
        tensor = model.graph.initializer[number]
        array = onnx.numpy_helper.to_array(tensor)
        if array.size < 2:
            continue
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.ravel()[: array.size // 2], tensor.name))
        assert try_out(model, tmp_path), f"{tensor.name} was cut and the file ran"


def test_onnx_runtime_tells_what_is_wrong() -> None:
    model = sparse_file(0)
    plan_of(model).ints[1] = 2**40
    with pytest.raises(RuntimeFailure, match="a count of tensors is"):
        create_session(model.SerializeToString(), "hostile")


def test_a_mask_cannot_ask_for_more_than_is_stored(tmp_path) -> None:
    for seed in range(40):
        model = emit_sparse_nodes(make_graph(seed)).model
        masks = [t for t in model.graph.initializer if t.name.endswith("/zeros")]
        if masks and len(model.graph.node) == 1:
            break
    full = np.full_like(onnx.numpy_helper.to_array(masks[0]), 255)
    masks[0].CopyFrom(onnx.numpy_helper.from_array(full, masks[0].name))
    assert "more weights than are stored" in try_out(model, tmp_path)
