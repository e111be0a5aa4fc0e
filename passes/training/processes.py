"""Processes that train together: one, or several on one or more machines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressc.errors import CompresscError
from compressc.process_group import join_processes
from compressc.tasks.protocol import Batch

T = TypeVar("T")


class Processes:
    """This process and those that ``accelerate launch`` or ``torchrun`` started beside it.

    Every process runs the same program on the same batches; training gives each its own rows, and
    only the main one judges and writes. With one process nothing is sent or split.

    Attributes:
        device: of this process.
        rank: the number of this process, 0 for the main one.
        count: how many there are.
    """

    def __init__(self) -> None:
        """Join the processes, or be the only one.

        Raises:
            CompresscError: if the processes cannot be joined, or if accelerate is in use in this
                process already, in another way.
        """
        # Importing accelerate takes a second, which compressc --help must not wait for.
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        # Running statistics are averaged after each epoch instead of copied before each step.
        wrapping = DistributedDataParallelKwargs(broadcast_buffers=False, static_graph=True)
        join_processes()
        try:
            # Autocast is set per pass, see compressc.passes.training.precision.
            self._accelerator = Accelerator(
                mixed_precision="no",
                cpu=not torch.accelerator.is_available(),
                kwargs_handlers=[wrapping],
            )
        except ValueError as error:
            raise CompresscError(
                f"training cannot start in this process: {error}; run compressc in its own"
            ) from error
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process judges, writes and reports."""
        return self.rank == 0

    def distribute(self, module: nn.Module) -> nn.Module:
        """Return ``module``, or a wrapper that averages gradients over the processes."""
        if self.count == 1:
            return module
        with warnings.catch_warnings():
            # The successor of broadcast_buffers is missing from the oldest torch that we allow.
            warnings.simplefilter("ignore", FutureWarning)
            prepared: nn.Module = self._accelerator.prepare_model(module)
        return prepared

    def share(self, value: T) -> T:
        """Return the main process's value in every process."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        shared: list[T] = broadcast_object_list([value])
        return shared[0]

    def on_main(self, call: Callable[[], T]) -> T:
        """Call in the main process alone and return its result in every process.

        Raises:
            CompresscError: in every process, if the call raises one.
        """
        outcome: tuple[Any, CompresscError | None] = (None, None)
        if self.is_main:
            try:
                outcome = (call(), None)
            except CompresscError as error:
                outcome = (None, error)
        value, problem = self.share(outcome)
        if problem is not None:
            raise problem
        result: T = value
        return result

    def require_same(self, value: str, what: str) -> None:
        """Check that all processes bring the same.

        Raises:
            CompresscError: in every process, if they do not.
        """
        if self.count == 1:
            return
        from accelerate.utils import gather_object

        if len(set(gather_object([value]))) > 1:
            raise CompresscError(
                f"the processes do not train the same {what}; give all of them the same command, "
                "model, data and kind of machine"
            )

    def take_rows(self, batch: Batch) -> tuple[Batch, float]:
        """Return this process's rows of a batch and the factor that its mean loss counts with.

        Gradients are averaged over processes; the factors make that the mean over all rows, also
        where rows cannot be split evenly. A process that is left without takes the first row, at
        factor 0.
        """
        if self.count == 1:
            return batch, 1.0
        inputs, targets = batch
        rows = len(inputs[0])
        mine = slice(self.rank, None, self.count)
        held = len(range(rows)[mine])
        if not held:
            mine = slice(0, 1)

        def pick(tensor: Tensor) -> Tensor:
            return tensor[mine] if tensor.dim() and len(tensor) == rows else tensor

        picked = tuple(pick(tensor) for tensor in inputs)
        return (picked, pytree.tree_map_only(Tensor, pick, targets)), held * self.count / rows

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.count == 1:
            return value
        reduced: Tensor = self._accelerator.reduce(value, "mean")
        return reduced

    def average_in_place(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over the processes; integers become the main one's."""
        if self.count == 1:
            return
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.copy_(self.mean(tensor))
            else:
                tensor.copy_(self.share(tensor.cpu()).to(tensor.device))
