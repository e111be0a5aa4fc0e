"""How policies learn: from the same steps as the network, or alone under a frozen one."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, fx

from compressc.graphs.trainable import keep_batch_statistics_only
from compressc.passes.decore.policies import Policies
from compressc.passes.decore.rewards import find_correct
from compressc.passes.gates.activation_gates import GatedNetwork
from compressc.passes.gates.gated_units import GatedUnits
from compressc.passes.training.learner import Learner
from compressc.passes.training.placement import place_inputs, place_program, place_targets
from compressc.passes.training.precision import Precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from compressc.program import Program
from compressc.tasks.protocol import Batch, Inputs, Task


class Exercise(Protocol):
    """One way to let policies learn from batches."""

    network: GatedNetwork

    def begin_epoch(self) -> None:
        """Prepare for training steps."""
        ...

    def step(self, batch: Batch) -> Tensor:
        """Learn from one batch and return its mean loss, detached."""
        ...

    def end_epoch(self) -> None:
        """Settle what the processes have to agree on."""
        ...

    def is_finite(self) -> bool:
        """Return whether the network's weights are numbers."""
        ...

    def weights(self) -> dict[str, Tensor] | None:
        """Return the network's weights (shared), None where it does not learn."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what the next epoch starts from, without the policies (shared)."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        ...


class JointExercise:
    """Policies and network learn from the same forward pass, the network under the actions.

    Args:
        program: stays as it is.
        settings: of training.
        steps: of the whole run.
        task: gives the loss.
        agents, policies: who learns.
        processes, precision: as in any training.
    """

    def __init__(
        self,
        program: Program,
        settings: TrainingSettings,
        steps: int,
        task: Task,
        agents: GatedUnits,
        policies: Policies,
        processes: Processes,
        precision: Precision,
    ) -> None:
        self._task, self._policies = task, policies
        self._learner = Learner(program, settings, steps, processes, precision)
        module = self._learner.module
        assert isinstance(module, fx.GraphModule)
        self.network = GatedNetwork(module, agents, processes.device)
        module.register_forward_pre_hook(self._act)
        self._actions: Tensor | None = None

    def _act(self, module: torch.nn.Module, inputs: Inputs) -> None:
        """Draw actions when the network is about to run in training."""
        if module.training:
            self._actions = self._policies.sample(len(inputs[0]))
            self.network.set_factors(self._actions)

    def _objective(self, inputs: Inputs, outputs: Any, targets: Any) -> Tensor:
        del inputs
        assert self._actions is not None
        with torch.no_grad():
            self._policies.learn(self._actions, find_correct(self._task, outputs, targets))
        return self._task.loss(outputs, targets)

    def begin_epoch(self) -> None:
        """Switch to training mode."""
        self._learner.begin_epoch()

    def step(self, batch: Batch) -> Tensor:
        """Let policies and network learn from one batch."""
        return self._learner.step(batch, self._objective)

    def end_epoch(self) -> None:
        """Bring running statistics together."""
        self._learner.end_epoch()

    def is_finite(self) -> bool:
        """Return whether every parameter is a number."""
        return self._learner.is_finite()

    def weights(self) -> dict[str, Tensor]:
        """Return the network's weights (shared)."""
        return self._learner.weights()

    def state(self) -> dict[str, Any]:
        """Return the learner's state (shared)."""
        return self._learner.state()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._learner.load(state)


class FrozenExercise:
    """Policies learn alone; the network is frozen.

    Batch norms run on the statistics of the batch and remember none of them: a network that lost
    channels gets statistics of its own before it is used, and judged by the original's, channels
    count for more than they are worth.

    Args:
        program: stays as it is.
        channels_last: memory layout that convolutions run fastest on.
        task: gives the loss, which is only shown.
        agents, policies: who learns.
        processes, precision: as in any training.
    """

    def __init__(
        self,
        program: Program,
        channels_last: bool,
        task: Task,
        agents: GatedUnits,
        policies: Policies,
        processes: Processes,
        precision: Precision,
    ) -> None:
        self._task, self._policies = task, policies
        self._channels_last, self._processes, self._precision = channels_last, processes, precision
        module = place_program(program, processes.device, channels_last)
        assert isinstance(module, fx.GraphModule)
        keep_batch_statistics_only(module)
        self.network = GatedNetwork(module, agents, processes.device)

    def begin_epoch(self) -> None:
        """Do nothing: every step sets the mode that it needs."""

    def step(self, batch: Batch) -> Tensor:
        """Let the policies learn from one batch."""
        (inputs, targets), _ = self._processes.take_rows(batch)
        inputs = place_inputs(inputs, self._processes.device, self._channels_last)
        targets = place_targets(targets, self._processes.device)
        actions = self._policies.sample(len(inputs[0]))
        self.network.set_factors(actions)
        # One image alone has no statistics.
        self.network.module.train(len(inputs[0]) > 1)
        with torch.no_grad():
            with self._precision.autocast():
                outputs = self.network.module(*inputs)
            self._policies.learn(actions, find_correct(self._task, outputs, targets))
            return self._task.loss(outputs, targets)

    def end_epoch(self) -> None:
        """Do nothing: the processes agree at every step."""

    def is_finite(self) -> bool:
        """Return True: the network does not change."""
        return True

    def weights(self) -> None:
        """Return None: the network does not learn."""

    def state(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Do nothing."""
        del state
