"""The target: where and how the result of a compression will be run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compressc.errors import GoalError
from compressc.runtime.cost_store import read_table
from compressc.runtime.cost_table import CostTable
from compressc.runtime.machine import Machine, channel_multiple, describe_machine
from compressc.zero_price import DENSE, SPARSE, ZeroPrice

# What executes the file. Both run the same ONNX file; they differ in what a zero weight costs.
Engine = Literal["onnxruntime", "sparse"]
ENGINES: tuple[Engine, ...] = ("onnxruntime", "sparse")


@dataclass(frozen=True)
class Target:
    """Where the result will run, and how: what speed means there.

    Attributes:
        threads: of each operator.
        batch: samples in one call.
        cost_table: measured kernels of another machine, as ``compressc profile --cost-table``
            wrote them there; None for this machine.
        engine: what executes the file: stock ONNX Runtime, or ONNX Runtime with compressc's
            sparse engine (``compressc.runtime.register``).
    """

    threads: int = 1
    batch: int = 1
    cost_table: CostTable | None = None
    engine: Engine = "onnxruntime"

    def __post_init__(self) -> None:
        for what, value in (("threads", self.threads), ("batch", self.batch)):
            if value < 1:
                raise GoalError(f"{what} {value}: must be 1 or more")
        if self.engine not in ENGINES:
            raise GoalError(f"engine '{self.engine}' does not exist; give {' or '.join(ENGINES)}")
        table = self.cost_table
        if table is not None and table.threads != self.threads:
            raise GoalError(
                f"the cost table of {table.machine.cpu_model} was measured with {table.threads} "
                f"threads, not {self.threads}; measure it again with --threads {self.threads}, or "
                f"give --threads {table.threads} here"
            )

    @property
    def is_here(self) -> bool:
        """Whether the result will run on this machine, so that it can be measured."""
        return self.cost_table is None

    @property
    def machine(self) -> Machine:
        """The machine on which the result will run."""
        return describe_machine() if self.cost_table is None else self.cost_table.machine

    @property
    def device(self) -> str:
        """What another machine is called in messages; empty for this one."""
        table = self.cost_table
        return f"{table.machine.cpu_model}, {table.threads} threads" if table else ""

    @property
    def zero_price(self) -> ZeroPrice:
        """What a zero weight costs there: as much as any other in stock ONNX Runtime."""
        return SPARSE if self.engine == "sparse" else DENSE

    @property
    def channel_step(self) -> int:
        """The multiple of channels that the target's kernels compute fastest."""
        return channel_multiple(self.machine)


def read_target(
    cost_table: str | Path | None,
    threads: int = 1,
    batch: int = 1,
    engine: Engine = "onnxruntime",
) -> Target:
    """Return the target that a file of a device describes, or this machine where there is none.

    Args:
        cost_table: file from ``compressc profile --cost-table`` on the device; None for here.
        threads: of each operator.
        batch: samples in one call.
        engine: what executes the file there.

    Raises:
        RuntimeFailure: if the file cannot be read or is no cost table.
        GoalError: if it was measured with another number of threads.
    """
    table = None if cost_table is None else read_table(cost_table)
    return Target(threads, batch, table, engine)
