import numpy as np
import onnx
import pytest
from onnx import helper

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.inputs import make_inputs
from compressc.runtime.session import open_session, run_session


def refused(path):
    with pytest.raises(RuntimeFailure) as caught:
        open_session(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_threads_are_fixed(small_conv):
    options = open_session(small_conv, threads=2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    with pytest.raises(RuntimeFailure, match="threads 0"):
        open_session(small_conv, threads=0)


def test_a_session_runs_the_made_up_inputs(small_conv):
    session = open_session(small_conv)
    (output,) = run_session(session, make_inputs(session, batch=3), "small")
    assert output.shape == (3, 8, 8, 8)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 some archive", b"text " * 50])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert "export or download it again" in refused(path)


def test_truncated_missing_and_folder(small_conv, tmp_path):
    small_conv.write_bytes(small_conv.read_bytes()[:-200])
    assert "truncated" in refused(small_conv)
    assert "no such file" in refused(tmp_path / "missing.onnx")
    assert "folder" in refused(tmp_path)


def test_an_opset_of_the_future(build, tmp_path):
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, opset=99)
    onnx.save(model, tmp_path / "new.onnx")
    assert "upgrade onnxruntime or export with a lower opset" in refused(tmp_path / "new.onnx")
    model.opset_import[0].version = 18
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    assert "upgrade onnxruntime" in refused(tmp_path / "new.onnx")


def test_an_unknown_operator_is_named(build, tmp_path):
    onnx.save(
        build([helper.make_node("Magic", ["x"], ["y"], domain="my")], {"x": [1]}), tmp_path / "m"
    )
    message = refused(tmp_path / "m")
    assert "my:Magic" in message
    assert "register the library" in message


def test_missing_external_weights_are_named(build, tmp_path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = build([node], {"x": [1, 64]}, {"w": np.ones((64, 64), np.float32)})
    arguments = {"save_as_external_data": True, "location": "w.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "m.onnx", **arguments)
    open_session(tmp_path / "m.onnx")
    (tmp_path / "w.data").unlink()
    assert "external weights" in refused(tmp_path / "m.onnx")


def test_a_broken_graph_is_refused(build, tmp_path):
    onnx.save(build([helper.make_node("Add", ["x", "nowhere"], ["y"])], {"x": [1]}), tmp_path / "m")
    assert "nowhere" in refused(tmp_path / "m")


def test_sizes_that_do_not_fit_point_at_the_option(build, tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = build(nodes, {"x": ["n", "features"]}, {"w": np.ones((10, 2), np.float32)})
    onnx.save(model, tmp_path / "m")
    session = open_session(tmp_path / "m")
    with pytest.raises(RuntimeFailure, match=r"x 1x128.*--shape") as caught:
        run_session(session, make_inputs(session), "m")
    assert "\n" not in str(caught.value)
