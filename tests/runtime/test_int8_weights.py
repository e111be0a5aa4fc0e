"""Files with int8 weights of 8 bits, and processors whose sums of products overflow."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

from compressc.runtime import int8_path, int8_weights
from compressc.runtime.benchmark import bench
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.int8_weights import find_wide_weights, saturation_warning
from compressc.runtime.machine import describe_machine
from compressc.runtime.verification import make_reference, verify, write_reference

MACHINES = {
    "avx2": (("avx", "avx2"), "x86_64", True),
    "avx512 without vnni": (("avx2", "avx512f"), "x86_64", True),
    "windows": (("avx2",), "AMD64", True),
    "avx-vnni": (("avx2", "avx_vnni"), "x86_64", False),
    "avx512-vnni": (("avx2", "avx512f", "avx512_vnni"), "x86_64", False),
    "arm": (("neon",), "aarch64", False),
    "arm with dot product": (("neon", "asimddp"), "aarch64", False),
}


def machine(name):
    simd, architecture, _ = MACHINES[name]
    return replace(describe_machine(), cpu_model=name, simd=simd, architecture=architecture)


@pytest.fixture
def runs_here(monkeypatch):
    """A function that makes this machine one of the above for the code that asks."""

    def pretend(name):
        for module in (int8_path, int8_weights):
            monkeypatch.setattr(module, "describe_machine", lambda: machine(name))

    return pretend


def quantized_product(build, largest, activations=True):
    """MatMul of 4 by 4, its weights int8 up to ``largest``, its input int8 or float."""
    weight = np.full((4, 4), 1, np.int8)
    weight[0, 0] = -largest
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "u"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "u"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"]),
        helper.make_node("MatMul", ["d" if activations else "x", "f"], ["y"]),
    ]
    stored = {
        "s": np.array(0.1, np.float32),
        "u": np.array(128, np.uint8),
        "z": np.array(0, np.int8),
        "w": weight,
    }
    return build(nodes if activations else nodes[2:], {"x": ["batch", 4]}, stored)


@pytest.fixture
def wide(build, tmp_path):
    onnx.save(quantized_product(build, 65), tmp_path / "wide.onnx")
    return tmp_path / "wide.onnx"


@pytest.fixture
def narrow(build, tmp_path):
    onnx.save(quantized_product(build, 64), tmp_path / "narrow.onnx")
    return tmp_path / "narrow.onnx"


@pytest.mark.parametrize("name", MACHINES)
def test_a_warning_where_sums_overflow_and_nowhere_else(wide, narrow, name):
    warning = saturation_warning(wide, machine(name))
    assert saturation_warning(narrow, machine(name)) == ""
    assert bool(warning) is MACHINES[name][2]
    if warning:
        assert warning.startswith(f"{wide}: ")
        assert f"overflow on {name}" in warning
        assert "quantise for this processor" in warning
        assert "\n" not in warning


def test_bytes_that_are_multiplied_as_floats_are_no_matter(build):
    assert find_wide_weights(quantized_product(build, 127)) == ("w",)
    assert find_wide_weights(quantized_product(build, 127, activations=False)) == ()


@pytest.mark.parametrize(
    ("op", "inputs", "domain"),
    [
        ("QLinearConv", "x s z w s z s z", ""),
        ("QLinearMatMul", "x s z w s z s z", ""),
        ("MatMulInteger", "x w z z", ""),
        ("ConvInteger", "x w z z", ""),
        ("QGemm", "x s z w s z", "com.microsoft"),
        ("DynamicQuantizeMatMul", "x w s", "com.microsoft"),
    ],
)
def test_other_ways_to_multiply_bytes_are_known(build, op, inputs, domain):
    node = helper.make_node(op, inputs.split(), ["y"], domain=domain)
    model = build([node], {"x": [1, 4]}, {"w": np.full((4, 4), -128, np.int8)})
    assert find_wide_weights(model) == ("w",)
    unsigned = build([node], {"x": [1, 4]}, {"w": np.full((4, 4), 200, np.uint8)})
    assert find_wide_weights(unsigned) == ()


def test_weights_outside_the_file_are_read(build, tmp_path):
    model = quantized_product(build, 100)
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    assert saturation_warning(path, machine("avx2"))
    (tmp_path / "w.data").unlink()
    with pytest.raises(RuntimeFailure, match=r"outside\.onnx.*external weights"):
        saturation_warning(path, machine("avx2"))


@pytest.mark.parametrize(("name", "warned"), [("avx2", True), ("avx512-vnni", False)])
def test_bench_and_verify_say_it(wide, narrow, runs_here, tmp_path, name, warned):
    runs_here(name)
    reference = tmp_path / "reference.npz"
    write_reference(make_reference(wide), reference)
    notes = [
        verify(wide, reference).notes,
        bench([wide, narrow], rounds=2, warmup_seconds=0.05, peak_rss=False, sessions=1).notes,
    ]
    for given in notes:
        assert [note.startswith(str(wide)) for note in given if "overflow" in note] == (
            [True] if warned else []
        )
