"""The engine's library: what it says, who may use it at once, what it refuses."""

import threading

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from compressc.runtime import RuntimeFailure, SparseModel, engine_info, register
from compressc.runtime.engine import library
from compressc.runtime.profiling import profile
from compressc.runtime.session import create_session
from compressc.sparse_graph.emission import emit_sparse_nodes
from tests.engine_graphs import make_graph

needs_engine = pytest.mark.skipif(
    not engine_info().instruction_sets, reason="no C++ compiler was there at installation"
)
SEED = 5


@pytest.fixture
def sparse_path(tmp_path):
    path = tmp_path / "sparse.onnx"
    onnx.save(emit_sparse_nodes(make_graph(SEED)).model, path)
    return path


def inputs_for(path, batch: int) -> np.ndarray:
    value = onnx.load(path).graph.input[0]
    sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(0).standard_normal((batch, *sizes)).astype(np.float32)


@needs_engine
def test_generic_kernels_run_everywhere() -> None:
    info = engine_info()
    assert info.instruction_sets[-1] == "generic"
    assert info.used == info.instruction_sets[0]
    assert info.used in str(info)


@needs_engine
def test_a_set_that_cannot_run_is_named(monkeypatch, sparse_path) -> None:
    monkeypatch.setenv(library.SET_VARIABLE, "amx9")
    with pytest.raises(RuntimeFailure, match=r"amx9.*choose .*generic"):
        engine_info()
    with pytest.raises(RuntimeFailure, match="cannot run the kernels 'amx9'"):
        create_session(str(sparse_path), "a file")


def test_without_a_library_files_run_dense(monkeypatch, sparse_path) -> None:
    monkeypatch.setattr(library, "_NAMES", ("no-such-library.so",))
    assert engine_info().path is None
    assert "without a C++ compiler" in str(engine_info())
    assert not register(ort.SessionOptions())
    x = inputs_for(sparse_path, 2)
    expected = create_session(make_graph(SEED).SerializeToString(), "dense").run(None, {"x": x})
    computed = create_session(str(sparse_path), "sparse").run(None, {"x": x})
    np.testing.assert_array_equal(expected[0], computed[0])


@needs_engine
def test_any_number_of_threads_gives_the_same_bits(sparse_path) -> None:
    x = inputs_for(sparse_path, 33)
    results = [
        create_session(str(sparse_path), "a file", threads).run(None, {"x": x})[0]
        for threads in (1, 2, 4)
    ]
    again = create_session(str(sparse_path), "a file", 2).run(None, {"x": x})[0]
    for result in (*results[1:], again):
        np.testing.assert_array_equal(results[0], result)


@needs_engine
def test_one_model_serves_several_threads_at_once(sparse_path) -> None:
    model = SparseModel(sparse_path)
    batches = [inputs_for(sparse_path, n) for n in (1, 4, 7, 16)]
    expected = [model.run(x)[0] for x in batches]
    wrong: list[int] = []

    def work(index: int) -> None:
        runs = [model.run(batches[index])[0] for _ in range(20)]
        wrong.extend(index for run in runs if not np.array_equal(run, expected[index]))

    threads = [threading.Thread(target=work, args=(k % 4,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_engine
def test_inputs_that_do_not_fit_are_refused(sparse_path) -> None:
    model = SparseModel(sparse_path)
    x = inputs_for(sparse_path, 2)
    with pytest.raises(RuntimeFailure, match="takes 1 inputs, not 2"):
        model.run(x, x)
    with pytest.raises(RuntimeFailure, match="a sample has"):
        model.run(x[:, :, :-1])


@needs_engine
def test_a_batch_of_none_gives_none(sparse_path) -> None:
    assert SparseModel(sparse_path).run(inputs_for(sparse_path, 0))[0].shape[0] == 0


@needs_engine
def test_other_files_are_refused(tmp_path) -> None:
    onnx.save(make_graph(SEED), tmp_path / "dense.onnx")
    with pytest.raises(RuntimeFailure, match="is not one sparse node"):
        SparseModel(tmp_path / "dense.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(RuntimeFailure, match="cannot be read as ONNX"):
        SparseModel(tmp_path / "text.onnx")


@needs_engine
def test_the_profile_names_every_step(sparse_path) -> None:
    steps = SparseModel(sparse_path).profile(batch=2, runs=2)
    assert {"convolve"} <= {step.work for step in steps}
    assert all(step.microseconds >= 0 for step in steps)


@needs_engine
def test_runs_do_not_grow(sparse_path) -> None:
    import resource

    model, x = SparseModel(sparse_path), inputs_for(sparse_path, 3)
    for _ in range(50):
        model.run(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2000):
        model.run(x)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


def test_a_profile_says_whose_layers_it_shows(sparse_path) -> None:
    assert "sparse nodes' definition" in profile(sparse_path, seconds=0.05).notes[0]


def test_files_that_cannot_be_read_are_left_to_onnx_runtime(tmp_path) -> None:
    (tmp_path / "empty.onnx").touch()
    for name in ("empty.onnx", "missing.onnx"):
        assert not library.has_sparse_nodes(tmp_path / name)
        with pytest.raises(RuntimeFailure):
            create_session(str(tmp_path / name), name)
