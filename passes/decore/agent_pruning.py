"""DECORE: structured pruning by one agent per channel."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

from torch import fx

from compressc.contract.context import Context
from compressc.contract.declaration import Declaration, Pass
from compressc.errors import GoalError, PlanError
from compressc.goal import LatencyBound
from compressc.passes.decore.agent_analysis import analyse_agents
from compressc.passes.decore.agent_training import identify_training, train_agents
from compressc.passes.decore.selection import drop_decided, drop_for_latency, drop_lowest
from compressc.passes.decore.settings import DecoreSettings
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.gates.gated_units import GatedUnits, find_gated_units
from compressc.passes.training.pending import check_nothing_pending
from compressc.passes.training.processes import Processes
from compressc.program import HistoryLine, Program
from compressc.tasks.protocol import require_task

_ANALYSED_SHARE = 0.01

# The last training of each network: the driver tries several channel steps, and a user several
# goals, which need no new one.
_TRAINED: MutableMapping[fx.GraphModule, tuple[str, TrainedAgents]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Decore(DecoreSettings, Pass):
    """Give every channel an agent that learns by reinforcement whether the channel stays.

    An agent is one weight w; its channel is open with probability sigmoid(w), drawn anew for every
    image. Dropped channels are rewarded where the prediction is right and punished where it is
    wrong. In the joint mode the network learns at the same time, under the actions, and comes back
    with new weights; in the constraint mode it is frozen, its batch norms on the statistics of the
    batch. Without a goal the channels with a probability below one half leave. With a goal
    (--target-flops and so on) all agents are put in one order and the lowest leave until it is met;
    whatever the penalty was, the goal holds. For a latency the agents leave that are worth least
    for the time they take. The policies themselves come near the goal with
    ``adapt_penalty``, a controller of the penalty. Follow it with finetune, or with calibrate and
    distill.

    Agents act on what convolutions, linear layers and matrix products read; none sits on a batch
    norm or a depthwise convolution. Coupled channels share one agent.

    The attributes are those of :class:`compressc.passes.decore.settings.DecoreSettings`.

    Source:
        Alwani, Wang, Madhavan, DECORE: Deep Compression with Reinforcement Learning, CVPR 2022.

    Deviations:
        Normalisations over channels (layer norm) see dropped channels while agents learn; the
        result is computed without them. The reward of a group counts its units, and a group may
        span several layers.

    Raises:
        GoalError: if a number is out of range or a choice unknown.
    """

    name: ClassVar[str] = "decore"
    # Policies that come from a file need no data.
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep", "weights"}))

    def __call__(self, program: Program, context: Context) -> Program:
        """Return the program with a keep plan and, in the joint mode, new weights.

        Raises:
            GoalError: if the goal is out of reach, or there is none in the constraint mode.
            PlanError: if channels, ranks or new zeros are pending, or nothing can be pruned.
            DataError: if there is no task, or it does not tell which samples are right.
            PolicyError: if the file of policies is damaged or of another model.
            OutputError: if state or policies cannot be written.
        """
        check_nothing_pending(program, self.name)
        timed = isinstance(context.goal.latency_ms, LatencyBound)
        if self.mode == "constraint" and not (context.goal.bounds or timed):
            raise GoalError(
                f"{self.name} in the constraint mode needs a goal such as --target-flops 0.5"
            )
        if self.adapt_penalty and not context.goal.bounds:
            raise GoalError(
                f"{self.name}: --adapt-penalty steers towards MACs, parameters or bytes; give "
                "--target-flops (also beside --target-latency), or leave it out"
            )
        agents = find_gated_units(program)
        if not agents.count:
            raise PlanError(f"{self.name}: this model has no channels that can leave")
        trained = self._obtain(program, agents, context)
        if trained.network is not None:
            program = program.with_state(trained.network)
        notes = list(trained.notes)
        if self.analysis:
            task = require_task(context.task, self.name)
            shares = (_ANALYSED_SHARE,)
            notes += map(str, analyse_agents(program, agents, trained.weights, task, shares))
        program = program.with_line(HistoryLine(self.name, notes=tuple(notes)))
        if timed:
            weights = trained.weights
            return drop_for_latency(program, context, agents, weights, self.floor, self.name)
        if context.goal.bounds:
            goal, weights = context.goal, trained.weights
            return drop_lowest(program, goal, agents, weights, self.floor, self.name)
        return drop_decided(program, agents, trained.weights, self.name)

    def _obtain(self, program: Program, agents: GatedUnits, context: Context) -> TrainedAgents:
        """Return policies: from their file, from the last training, or from training now."""
        path = None if self.policies is None else Path(self.policies)
        if path is not None and path.exists():
            return TrainedAgents.load(path, program, agents)
        require_task(context.task, self.name)
        identity = identify_training(program, self, context)
        known = _TRAINED.get(program.graph_module)
        trained = known[1] if known is not None and known[0] == identity else None
        if trained is None:
            trained = train_agents(program, agents, self, context)
            _TRAINED[program.graph_module] = (identity, trained)
        if path is not None:
            policies, target = trained, path
            Processes().on_main(lambda: policies.save(target, program, agents))
        return trained
