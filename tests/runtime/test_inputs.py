import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import foreign_overrides, make_inputs, resolve_shapes
from compressc.runtime.session import create_session


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (("batch", 3, 32, 32), (4, 3, 32, 32)),
        ((None, 3, None, None), (4, 3, 224, 224)),
        (("n", "c", "h", "w"), (4, 3, 224, 224)),
        (("n", "length"), (4, 128)),
        (("n", "length", 7), (4, 128, 7)),
        ((2, 5), (2, 5)),
        ((), ()),
    ],
)
def test_default_sizes(dims, expected):
    assert resolve_shapes({"x": dims}, batch=4) == {"x": expected}


def test_axes_of_one_name_have_one_size():
    dims = {"x": ("n", "t"), "mask": ("n", "t", "t"), "late": (5, "n")}
    assert resolve_shapes(dims, 2, {"t": 6}) == {"x": (2, 6), "mask": (2, 6, 6), "late": (5, 2)}
    assert resolve_shapes(dims, 2, {"x": (3, 9)}) == {
        "x": (3, 9),
        "mask": (3, 9, 9),
        "late": (5, 3),
    }


def test_an_override_of_the_batch_axis_wins_over_batch():
    assert resolve_shapes({"x": ("n", 4)}, 2, {"n": 7}) == {"x": (7, 4)}


@pytest.mark.parametrize("override", [{"x": (1, 2)}, {"x": (1, 4, 3)}, {"x": (0, 4, 9)}, {"n": 0}])
def test_overrides_that_do_not_fit(override):
    with pytest.raises(RuntimeFailure, match="shape"):
        resolve_shapes({"x": ("n", 4, 9)}, 1, override)


def test_batch_must_be_positive():
    with pytest.raises(RuntimeFailure, match="batch 0"):
        resolve_shapes({"x": ("n", 4)}, 0)


def test_foreign_overrides_are_found():
    assert foreign_overrides({"x": ("n", 4)}, {"n": 1, "x": (1, 4), "typo": 3}) == {"typo"}


def test_values_have_the_types_of_the_inputs_and_follow_the_seed(build):
    dtypes = {
        "f": TensorProto.FLOAT,
        "h": TensorProto.FLOAT16,
        "d": TensorProto.DOUBLE,
        "ids": TensorProto.INT64,
        "size": TensorProto.INT32,
        "flag": TensorProto.BOOL,
        "byte": TensorProto.UINT8,
    }
    shapes = {name: ["n", 40] for name in dtypes} | {"size": []}
    nodes = [helper.make_node("Cast", [name], [f"{name}_o"], to=1) for name in dtypes]
    model = build(nodes, shapes, outputs=[f"{name}_o" for name in dtypes], dtypes=dtypes)
    session = create_session(model.SerializeToString(), "m")
    feeds = make_inputs(session, batch=3, seed=1)
    session.run(None, feeds)
    kinds = {name: array.dtype for name, array in feeds.items()}
    assert kinds == {n: onnx.helper.tensor_dtype_to_np_dtype(k) for n, k in dtypes.items()}
    assert feeds["f"].shape == (3, 40)
    assert set(np.unique(feeds["ids"])) == {0, 1}
    assert feeds["size"] == 1
    again, other = make_inputs(session, 3, seed=1), make_inputs(session, 3, seed=2)
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)
    assert not np.array_equal(feeds["f"], other["f"])


def test_inputs_that_are_no_tensors_are_refused(build):
    model = build([helper.make_node("SequenceAt", ["x", "i"], ["y"])], {"i": []}, dtypes={"i": 7})
    model.graph.input.insert(0, helper.make_tensor_sequence_value_info("x", 1, [2]))
    session = create_session(model.SerializeToString(), "m")
    with pytest.raises(RuntimeFailure, match=r"input 'x': of type seq\(tensor\(float\)\)"):
        make_inputs(session)
