import json
import subprocess
import sys
from dataclasses import replace

import pytest

from compressc.runtime import machine as machine_module
from compressc.runtime.machine import Machine, channel_multiple, describe_machine


def test_this_machine_is_described():
    found = describe_machine()
    assert found.logical_cores >= found.physical_cores >= 1
    assert found.cpu_model
    assert found.onnxruntime[0].isdigit()
    assert found.memory_bytes is None or found.memory_bytes > 1e8


def test_dict_round_trip_through_json():
    found = describe_machine()
    again = Machine.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert again.to_dict()["digest"] == found.digest


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"cpu_model": "other"}, True),
        ({"simd": ("avx2",)}, True),
        ({"logical_cores": 3}, True),
        ({"onnxruntime": "0.1"}, True),
        ({"memory_bytes": 1}, False),
        ({"python": "9.9"}, False),
        ({"os": "Linux-9"}, False),
    ],
)
def test_digest_covers_what_decides_latency(change, matters):
    found = describe_machine()
    assert (replace(found, **change).digest != found.digest) is matters


@pytest.mark.parametrize(
    ("simd", "expected"), [(("avx2", "avx512f"), 16), (("avx2",), 8), (("neon",), 8), ((), 8)]
)
def test_channel_multiple(simd, expected):
    assert channel_multiple(replace(describe_machine(), simd=simd)) == expected


def test_features_of_numpy_and_of_the_kernel_are_joined(monkeypatch):
    import numpy as np

    config = {"SIMD Extensions": {"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4"]}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    cpuinfo = [{"flags": "fpu avx512_vnni amx_int8 sgx"}]
    assert machine_module._simd_features(cpuinfo) == (
        "amx_int8",
        "avx",
        "avx2",
        "avx512_vnni",
        "avx512bw",
        "avx512f",
        "avx512vl",
        "fma",
        "sse4_2",
    )


def test_physical_cores_are_counted_once_per_socket_and_core():
    threads = [(s, c) for s in "01" for c in "01" for _ in range(2)]
    cpuinfo = [{"physical id": s, "core id": c} for s, c in threads]
    assert machine_module._physical_cores(cpuinfo) == 4


@pytest.mark.parametrize(
    "statement", ["import compressc.runtime", "import compressc.runtime.benchmark"]
)
def test_the_runtime_never_imports_torch_or_the_compiler(statement):
    code = (
        f"{statement}\nimport sys\n"
        "from compressc.runtime import Measurement, bench, channel_multiple, count_cost\n"
        "from compressc.runtime import describe_machine\n"
        "ours = [n for n in sys.modules if n.startswith('compressc.')]\n"
        "bad = [n for n in ours if not n.startswith('compressc.runtime')]\n"
        "assert callable(bench) and channel_multiple() in (8, 16)\n"
        "sys.exit(repr(bad) if bad or 'torch' in sys.modules else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_alone_loads_nothing_heavy():
    code = (
        "import compressc.runtime, sys\n"
        "sys.exit(any(n in sys.modules for n in ('torch', 'onnx', 'onnxruntime', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
