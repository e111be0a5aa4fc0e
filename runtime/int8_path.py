"""What a processor does with products of bytes: how fast it sums them, and whether sums overflow.

Processors with VNNI, AMX or ARM's dot product add four products of bytes into 32 bits in one step.
x86-64 without them adds pairs of products in 16 bits, where 255 * 127 + 255 * 127 does not fit: the
sum is cut off, and the outputs of the network are wrong. Weights of 7 bits, from -64 to 64, fit.
"""

from __future__ import annotations

from compressc.runtime.machine import Machine, describe_machine

# Instructions that sum products of bytes in one step; without them ONNX Runtime's int8 kernels
# take several steps, and float32 is as fast.
_FAST = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
_RUNS_ON = {
    7: "any processor",
    8: "x86-64 with VNNI (avx512_vnni, avx_vnni, amx_int8), or ARM",
}


def int8_instructions(machine: Machine | None = None) -> tuple[str, ...]:
    """Return the vector features that make int8 fast, in the words of /proc/cpuinfo.

    Args:
        machine: the machine that will run the model; None for this one.
    """
    simd = (machine or describe_machine()).simd
    return tuple(name for name in _FAST if name in simd)


def saturates(machine: Machine | None = None) -> bool:
    """Return whether sums of products overflow on this machine where weights have 8 bits.

    Args:
        machine: the machine that will run the model; None for this one.
    """
    machine = machine or describe_machine()
    return machine.architecture in ("x86_64", "AMD64") and not int8_instructions(machine)


def int8_weight_bits(machine: Machine | None = None) -> int:
    """Return how many bits int8 weights may use: 8 where sums are known not to overflow, else 7.

    Args:
        machine: the machine that will run the model; None for this one.
    """
    return 8 if int8_instructions(machine) else 7


def runs_on(weight_bits: int) -> str:
    """Return in words where a file with int8 weights of 7 or 8 bits computes what it should."""
    return _RUNS_ON[weight_bits]
