"""The machine a number was taken on, as a fingerprint that travels with the number."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What numpy calls a group of features, in the words of /proc/cpuinfo.
_NUMPY_FEATURES = {
    "X86_V2": ("sse4_2",),
    "SSE42": ("sse4_2",),
    "AVX": ("avx",),
    "AVX2": ("avx", "avx2"),
    "FMA3": ("fma",),
    "X86_V3": ("avx", "avx2", "fma"),
    "X86_V4": ("avx512f", "avx512bw", "avx512vl"),
    "AVX512F": ("avx512f",),
    "AVX512_SKX": ("avx512f", "avx512bw", "avx512vl"),
    "AVX512_ICL": ("avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    "AVX512_SPR": ("avx512_bf16", "avx512_fp16"),
    "NEON": ("neon",),
    "ASIMD": ("neon",),
    "ASIMDDP": ("asimddp",),
    "ASIMDHP": ("asimdhp",),
    "SVE": ("sve",),
}
# The features that change which kernels ONNX Runtime picks, or how fast they are.
_CPUINFO_FEATURES = frozenset(
    {
        *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni"),
        *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
    }
)
# Versions of Python packages do not change a latency, and memory is reported a little
# differently after each boot; neither should throw a cost table away.
_NOT_IN_DIGEST = frozenset({"memory_bytes", "os", "python", "numpy", "onnx"})


@dataclass(frozen=True)
class Machine:
    """Fingerprint of a machine and of the software that decides its speed.

    Attributes:
        cpu_model: the processor's name; virtual machines may hide the exact one.
        architecture: ``x86_64``, ``aarch64``, ...
        logical_cores, physical_cores: of the whole machine.
        simd: vector features, sorted, in the words of /proc/cpuinfo (``avx512_vnni``).
        memory_bytes: physical memory; None where it cannot be read.
        system: operating system family, such as ``Linux``.
        os: operating system with its version.
        python, numpy, onnx, onnxruntime: versions; ``none`` where not installed.
    """

    cpu_model: str
    architecture: str
    logical_cores: int
    physical_cores: int
    simd: tuple[str, ...]
    memory_bytes: int | None
    system: str
    os: str
    python: str
    numpy: str
    onnx: str
    onnxruntime: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "simd", tuple(self.simd))

    @property
    def digest(self) -> str:
        """SHA-256 of what decides latency: processor, cores, vector features, system, runtime."""
        deciding = {k: v for k, v in asdict(self).items() if k not in _NOT_IN_DIGEST}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, ``digest`` included."""
        return {**asdict(self), "simd": list(self.simd), "digest": self.digest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Machine:
        """Read what :meth:`to_dict` returned; unknown keys are ignored.

        Raises:
            KeyError: if a field is missing.
        """
        return cls(**{item.name: values[item.name] for item in fields(cls)})


@cache
def describe_machine() -> Machine:
    """Return the fingerprint of this machine (read once per process)."""
    cpuinfo = _read_cpuinfo()
    logical = os.cpu_count() or 1
    return Machine(
        cpu_model=_cpu_model(cpuinfo),
        architecture=platform.machine() or "unknown",
        logical_cores=logical,
        physical_cores=_physical_cores(cpuinfo) or logical,
        simd=_simd_features(cpuinfo),
        memory_bytes=_memory_bytes(),
        system=platform.system(),
        os=platform.platform(),
        python=platform.python_version(),
        numpy=_version("numpy"),
        onnx=_version("onnx"),
        onnxruntime=_version("onnxruntime"),
    )


def channel_multiple(machine: Machine | None = None) -> int:
    """Return the channel step of ONNX Runtime's blocked kernels: 16 with AVX-512, else 8.

    Args:
        machine: the machine that will run the model; None for this one.
    """
    return 16 if "avx512f" in (machine or describe_machine()).simd else 8


def _read_cpuinfo() -> list[dict[str, str]]:
    """Return one mapping per processor of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return []
    processors = []
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        entries = {key.strip(): value.strip() for key, colon, value in pairs if colon}
        if entries:
            processors.append(entries)
    return processors


def _cpu_model(cpuinfo: list[dict[str, str]]) -> str:
    for processor in cpuinfo:
        for key in ("model name", "Model", "Hardware", "cpu model"):
            if processor.get(key):
                return processor[key]
    return _ask_sysctl("machdep.cpu.brand_string") or platform.processor() or "unknown"


def _physical_cores(cpuinfo: list[dict[str, str]]) -> int:
    """Return the number of distinct (socket, core) pairs; 0 where it cannot be told."""
    pairs = {(p.get("physical id"), p.get("core id")) for p in cpuinfo if "core id" in p}
    if pairs:
        return len(pairs)
    answer = _ask_sysctl("hw.physicalcpu")
    return int(answer) if answer.isdigit() else 0


def _simd_features(cpuinfo: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    import numpy as np

    features: set[str] = set()
    config = np.show_config(mode="dicts")
    extensions = config.get("SIMD Extensions", {}) if isinstance(config, dict) else {}
    for name in (*extensions.get("baseline", ()), *extensions.get("found", ())):
        features.update(_NUMPY_FEATURES.get(name, ()))
    for processor in cpuinfo:
        flags = f"{processor.get('flags', '')} {processor.get('Features', '')}".split()
        features.update(
            "neon" if flag == "asimd" else flag for flag in _CPUINFO_FEATURES & {*flags}
        )
    return tuple(sorted(features))


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _ask_sysctl(name: str) -> str:
    if platform.system() != "Darwin":
        return ""
    try:
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _version(package: str) -> str:
    # Builds such as onnxruntime-openvino install the module under another distribution's name.
    try:
        return version(package)
    except PackageNotFoundError:
        pass
    try:
        return str(__import__(package).__version__)
    except ImportError:
        return "none"
