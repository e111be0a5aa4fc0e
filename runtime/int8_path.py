"""Whether this machine multiplies int8 faster than float32."""

from __future__ import annotations

from compressc.runtime.machine import Machine, describe_machine

# Instructions that sum products of bytes in one step; without them ONNX Runtime's int8 kernels
# take several steps, and float32 is as fast.
_FAST = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def int8_instructions(machine: Machine | None = None) -> tuple[str, ...]:
    """Return the vector features that make int8 fast, in the words of /proc/cpuinfo.

    Args:
        machine: the machine that will run the model; None for this one.
    """
    simd = (machine or describe_machine()).simd
    return tuple(name for name in _FAST if name in simd)


def saturates(machine: Machine | None = None) -> bool:
    """Return whether products of unsigned and signed bytes overflow 16 bits on this machine.

    AVX2 and AVX-512 without VNNI add pairs of such products in 16 bits; weights of 7 bits fit.
    """
    machine = machine or describe_machine()
    return machine.architecture in ("x86_64", "AMD64") and not int8_instructions(machine)
