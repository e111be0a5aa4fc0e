"""Sparse files compute what the dense ones do: by their definition, and on the engine."""

import numpy as np
import onnx
import pytest

from compressc.errors import ExportError
from compressc.runtime import SparseModel, engine_info
from compressc.runtime.session import create_session
from compressc.sparse_graph.emission import emit_sparse_nodes
from tests.engine_graphs import make_graph

SETS = engine_info().instruction_sets
needs_engine = pytest.mark.skipif(not SETS, reason="no C++ compiler was there at installation")
TOLERANCE = 2e-5


def run(model: onnx.ModelProto, x: np.ndarray, *, use_engine: bool) -> list[np.ndarray]:
    session = create_session(model.SerializeToString(), "the model", use_engine=use_engine)
    return session.run(None, {"x": x})


def difference(expected: list[np.ndarray], computed: list[np.ndarray]) -> float:
    """Return the largest difference, beside the largest number of the output."""
    worst = 0.0
    for a, b in zip(expected, computed, strict=True):
        assert a.shape == b.shape
        scale = max(1e-3, float(np.abs(a).max(initial=0)))
        worst = max(worst, float(np.abs(a - b).max(initial=0)) / scale)
    return worst


def check(seed: int, folder, batches: tuple[int, ...]) -> int:
    """Compare a random graph everywhere; return how many nodes the engine ran."""
    model = make_graph(seed)
    try:
        sparse = emit_sparse_nodes(model)
    except ExportError:
        return 0
    onnx.checker.check_model(sparse.model)
    path = folder / "sparse.onnx"
    onnx.save(sparse.model, path)
    is_whole = len(sparse.model.graph.node) == 1
    channels, *size = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])
    for batch in batches:
        x = np.random.default_rng(seed).standard_normal((batch, channels, *size)).astype(np.float32)
        expected = run(model, x, use_engine=False)
        body = run(sparse.model, x, use_engine=False)
        assert difference(expected, body) < TOLERANCE, f"seed {seed}, batch {batch}: definition"
        assert difference(expected, run(sparse.model, x, use_engine=True)) < TOLERANCE, (
            f"seed {seed}, batch {batch}: ONNX Runtime with the engine"
        )
        for name in SETS if is_whole else ():
            computed = SparseModel(path, name).run(x)
            assert difference(expected, computed) < TOLERANCE, f"seed {seed}, batch {batch}: {name}"
    return sum(sparse.nodes)


@needs_engine
@pytest.mark.parametrize("start", range(0, 60, 6))
def test_random_graphs_compute_the_same_everywhere(start: int, tmp_path) -> None:
    ran = [check(seed, tmp_path, (1, 3, 20)) for seed in range(start, start + 6)]
    assert sum(n > 0 for n in ran) >= 4


@needs_engine
@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1400, 50))
def test_hundreds_of_random_graphs(start: int, tmp_path) -> None:
    for seed in range(start, start + 50):
        check(seed, tmp_path, (1, 2, 5, 8, 17, 65))
