"""Builds the sparse engine, a plain shared library, where a C++ compiler is there.

Everything else about the package stands in ``pyproject.toml``. Without a compiler the package is
installed without the engine: files with sparse nodes run by their standard definition then.
"""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("runtime/engine/native")
NAME = "compressc.runtime.engine.native"
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
AVX512 = ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mprefer-vector-width=512"]
# Flags of kernels for one instruction set, and the processors that have it.
KERNELS = {
    "kernels_avx512.cpp": ["-mavx2", "-mfma", *AVX512],
    "kernels_avx2.cpp": ["-mavx2", "-mfma"],
}
X86_64 = ("x86_64", "AMD64")


class BuildEngine(build_ext):
    """Compiles each file with its own flags; a failure leaves the engine out."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link, or say in a line why there is no engine."""
        try:
            self._build(ext)
        except Exception as error:
            # Users of a machine without a compiler must be able to install the package.
            if os.environ.get("COMPRESSC_REQUIRE_ENGINE"):
                raise
            self.warn(f"compressc is installed without its sparse engine: {error}")

    def get_ext_filename(self, ext_name: str) -> str:
        """Name a plain library, not an extension of Python."""
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        *packages, _ = ext_name.split(".")
        return str(Path(*packages, f"libcompressc_engine{suffix}"))

    def _build(self, ext: Extension) -> None:
        sanitize = os.environ.get("COMPRESSC_ENGINE_FLAGS", "").split()

        def compile_one(source: str) -> str:
            flags = [*FLAGS, *KERNELS.get(Path(source).name, []), *sanitize]
            (built,) = self.compiler.compile(
                [source], output_dir=self.build_temp, extra_postargs=flags, depends=ext.depends
            )
            return built

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, ext.sources))
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            objects, str(target), extra_postargs=sanitize, target_lang="c++"
        )


def list_sources() -> list[str]:
    """Return the files for this kind of processor."""
    files = sorted(str(path) for path in FOLDER.glob("*.cpp"))
    if platform.machine() in X86_64:
        return files
    return [path for path in files if Path(path).name not in KERNELS]


headers = sorted(str(path) for ending in ("*.h", "*.inl") for path in FOLDER.glob(ending))
setup(
    ext_modules=[Extension(NAME, list_sources(), depends=headers, language="c++")],
    cmdclass={"build_ext": BuildEngine},
)
