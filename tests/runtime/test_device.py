"""A device: numpy, onnx and onnxruntime, and nothing else that compressc depends on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = (
    "torch",
    "rich",
    "jinja2",
    "scipy",
    "safetensors",
    "onnxscript",
    "PIL",
    "sklearn",
    "matplotlib",
)
BLOCK = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
"""


@pytest.fixture
def device(tmp_path: Path, small_conv: Path):
    """Run a command line in an interpreter, and children of it, where the packages are missing."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    def run(*arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "compressc", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )

    return run


def check_commands(device, python: str = sys.executable) -> None:
    def run(*arguments: str) -> str:
        done = device(*arguments, python=python)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    assert "speed-up" in run("bench", "small.onnx", "small.onnx", "--seconds", "0.2")
    assert "wrote r.npz" in run("verify", "small.onnx", "r.npz", "--store")
    assert "ok" in run("verify", "small.onnx", "r.npz")
    assert "GFLOP/s" in run("profile", "small.onnx", "--seconds", "0.1", "--json", "p.json")
    assert "kernel kinds" in run("profile", "small.onnx", "--cost-table", "t.json")
    assert "compressc" in run("--help")


def test_a_profile_is_drawn_where_there_is_matplotlib(device, tmp_path: Path) -> None:
    refused = device("profile", "small.onnx", "--report", "p.html")
    assert refused.returncode == 2
    assert "compressc profile layers.json --report layers.html" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert device("profile", "small.onnx", "--seconds", "0.1", "--json", "p.json").returncode == 0
    words = ["profile", "p.json", "--report", "p.html"]
    subprocess.run([sys.executable, "-m", "compressc", *words], cwd=tmp_path, check=True)
    assert "<svg" in (tmp_path / "p.html").read_text()


def test_the_block_works(device) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + "import torch"], capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError" in done.stderr
    refused = device("inspect", "small.onnx")
    assert refused.returncode != 0


def test_the_device_commands_run_without_the_rest(device) -> None:
    check_commands(device)


@pytest.mark.slow
def test_the_device_commands_run_in_an_environment_without_the_rest(device, tmp_path: Path) -> None:
    """``pip install --no-deps compressc`` beside numpy, onnx and onnxruntime."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("compiler", "passes", "runtime", "models"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = ["-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, *pins, "numpy", "onnx", "onnxruntime"], check=True)
    subprocess.run([*install, "--no-deps", str(source)], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    installed = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    assert "compressc" in installed
    assert installed.isdisjoint({"torch", "rich", "jinja2", "scipy", "safetensors"})
    check_commands(device, python)
