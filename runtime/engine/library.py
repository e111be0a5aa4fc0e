"""The engine's shared library: where it is, what it can run here, how ONNX Runtime gets it."""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnxruntime as ort

from compressc.runtime.errors import RuntimeFailure

# The operator of a sparse node, as it stands in a file.
OPERATOR = "SparseGraph"
# Names an instruction set below the best one, for tests and measurements.
SET_VARIABLE = "COMPRESSC_ENGINE_SET"
# Names another build of the library, for tests with sanitizers.
LIBRARY_VARIABLE = "COMPRESSC_ENGINE_LIBRARY"
_NAMES = ("libcompressc_engine.so", "libcompressc_engine.dylib")
_TEXT_BYTES = 256


@dataclass(frozen=True)
class EngineInfo:
    """What the sparse engine is on this machine.

    Attributes:
        path: the shared library; None where the package was installed without a C++ compiler.
        instruction_sets: what this processor can run of "avx512", "avx2" and "generic", the
            fastest first; empty without a library.
        used: the set that runs: the first, or what ``COMPRESSC_ENGINE_SET`` names.
    """

    path: Path | None
    instruction_sets: tuple[str, ...]
    used: str

    def __str__(self) -> str:
        """One line for people."""
        if self.path is None:
            return (
                "no sparse engine: compressc was installed without a C++ compiler; sparse files "
                "run on ONNX Runtime's dense kernels"
            )
        return f"sparse engine with {self.used} kernels ({self.path})"


def engine_info() -> EngineInfo:
    """Return what is loaded and which kernels this machine gets.

    Raises:
        RuntimeFailure: if ``COMPRESSC_ENGINE_SET`` names kernels that cannot run here.
    """
    path = _find_library()
    if path is None:
        return EngineInfo(None, (), "")
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    load_library().compressc_sets(text, ctypes.c_size_t(_TEXT_BYTES))
    sets = tuple(text.value.decode().split())
    used = os.environ.get(SET_VARIABLE) or sets[0]
    if used not in sets:
        raise RuntimeFailure(
            f"{SET_VARIABLE}={used}: this processor cannot run that; choose {', '.join(sets)}"
        )
    return EngineInfo(path, sets, used)


def register(options: ort.SessionOptions) -> bool:
    """Let sessions with these options run sparse nodes on the engine.

    Returns:
        False where there is no library: the nodes then run by their standard definition.
    """
    path = _find_library()
    if path is None:
        return False
    options.register_custom_ops_library(str(path))
    return True


def has_sparse_nodes(model: str | bytes | Path) -> bool:
    """Return whether a file, or the bytes of one, speaks of sparse nodes.

    False for a file that cannot be read: ONNX Runtime says why.
    """
    name = OPERATOR.encode()
    if isinstance(model, bytes):
        return name in model
    try:
        # Mapped, since a file may be of gigabytes and is opened many times over.
        with (
            Path(model).open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(name) >= 0
    except (OSError, ValueError):
        return False


@cache
def load_library() -> ctypes.CDLL:
    """Return the library for ctypes.

    Raises:
        RuntimeFailure: if there is none, or it cannot be loaded.
    """
    path = _find_library()
    if path is None:
        raise RuntimeFailure(f"{EngineInfo(None, (), '')}; install one and compressc again")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise RuntimeFailure(
            f"{path}: cannot be loaded ({error}); install compressc again"
        ) from error
    library.compressc_open.restype = ctypes.c_void_p
    library.compressc_close.argtypes = [ctypes.c_void_p]
    library.compressc_close.restype = None
    return library


def _find_library() -> Path | None:
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(named)
    folder = Path(__file__).parent
    return next((folder / name for name in _NAMES if (folder / name).is_file()), None)
