"""Whether int8 brings speed on a machine; told before any work is done, and without torch."""

from __future__ import annotations

from compressc.errors import PrecisionError
from compressc.runtime.int8_path import int8_instructions
from compressc.runtime.machine import Machine


def check_fast_int8(machine: Machine) -> None:
    """Refuse int8 where it brings no speed.

    Raises:
        PrecisionError: if the machine has no instructions for products of bytes.
    """
    if not int8_instructions(machine):
        raise PrecisionError(
            f"int8 brings no speed here: {machine.cpu_model} ({machine.architecture}) has neither "
            "VNNI, AMX int8 nor the dot product of ARM; --force-int8 makes the file all the same"
        )
