"""Settings of RL-MCTS, in parts: how it looks ahead, how it learns, how candidates are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressc.errors import GoalError
from compressc.passes.rl_mcts.criteria import Criterion, Split
from compressc.passes.rl_mcts.network_training import TrainingRule
from compressc.search.evaluation import Conditions

Guide = Literal["none", "reconstruction", "taylor", "l1", "l2"]


@dataclass(frozen=True)
class Lookahead:
    """How the search looks ahead, and what a game is.

    Attributes:
        simulations: descents per move and tree.
        exploration: c_puct.
        temperature: tau of the shares of visits from which moves are drawn.
        self_plays: games per iteration.
        trees: trees per move, whose visits are added up; each stirs the root's prior otherwise.
        root_noise: share of noise in the prior of a root.
        iterations: at most, per segment; 0 plays one game by the network alone and judges its end.
        patience: iterations without a better baseline after which a segment ends.
        units_per_move: units of one group that leave in one move, at most a quarter of the group.
        mask: share of the units, those with the least Taylor importance, that may leave.
        segment: share of the original by which the target falls from one search to the next; fewer
            and longer ones where the goal allows few trials.
        guide: what the policy is before it has learned: units leave by this feature per MAC that
            they cost; "none" for the paper's uniform one.
        guide_spread: share of the units over which the guide spreads its probability.
        wander: how far the games of an iteration go from the best candidate so far, which the guide
            follows: from game to game its groups are reweighted by a normal deviate of so much
            more, in powers of e, and the spread doubles; the first game stays near.
        ends_per_game: ends that simulations of a game come to are judged up to this number; the
            network's expectation stands in for more. The end of the game itself is always judged.

    Raises:
        GoalError: if a number is out of range.
    """

    simulations: int = 50
    exploration: float = 1.0
    temperature: float = 1.0
    self_plays: int = 5
    trees: int = 1
    root_noise: float = 0.25
    iterations: int = 100
    patience: int = 3
    units_per_move: int = 1
    mask: float = 1.0
    segment: float = 0.01
    guide: Guide = "reconstruction"
    guide_spread: float = 0.02
    wander: float = 0.5
    ends_per_game: int = 8

    def __post_init__(self) -> None:
        for what in ("simulations", "self_plays", "trees", "patience", "units_per_move"):
            if getattr(self, what) < 1:
                raise GoalError(f"{what} {getattr(self, what)}: at least 1 is needed")
        for what in ("iterations", "wander", "ends_per_game"):
            if not getattr(self, what) >= 0:
                raise GoalError(f"{what} {getattr(self, what):g}: must be 0 or more")
        for what in ("exploration", "temperature", "guide_spread"):
            if not getattr(self, what) > 0:
                raise GoalError(f"{what} {getattr(self, what):g}: must be above 0")
        if not 0 <= self.root_noise <= 1:
            raise GoalError(f"root_noise {self.root_noise:g}: give a share from 0 to 1")
        for what in ("mask", "segment"):
            if not 0 < getattr(self, what) <= 1:
                raise GoalError(f"{what} {getattr(self, what):g}: give a share above 0, at most 1")


@dataclass(frozen=True)
class Learning:
    """How the policy and value network learns.

    Attributes:
        net_width: channels of its first block; 64 is VGG-16.
        net_epochs: passes over the queue after every iteration.
        net_rate: learning rate of Adam.
        net_batch: lessons per step.
        net_decay: c of Eq. 1, the weight of the squared norm of all parameters.
        queue: how many lessons are remembered.
        start_network: a file (.safetensors) of an earlier search, also on another model, to begin
            with.
        save_network: a file for the network as it is at the end.

    Raises:
        GoalError: if a number is out of range.
    """

    net_width: int = 8
    net_epochs: int = 100
    net_rate: float = 4e-5
    net_batch: int = 64
    net_decay: float = 1e-4
    queue: int = 5000
    start_network: str = ""
    save_network: str = ""

    def __post_init__(self) -> None:
        for what in ("net_width", "net_batch", "queue"):
            if getattr(self, what) < 1:
                raise GoalError(f"{what} {getattr(self, what)}: at least 1 is needed")
        if self.net_epochs < 0:
            raise GoalError(f"net_epochs {self.net_epochs}: must be 0 or more")
        if not self.net_rate > 0:
            raise GoalError(f"net_rate {self.net_rate:g}: must be above 0")
        if not self.net_decay >= 0:
            raise GoalError(f"net_decay {self.net_decay:g}: must be 0 or more")

    @property
    def rule(self) -> TrainingRule:
        """How the network is trained."""
        return TrainingRule(self.net_epochs, self.net_rate, self.net_batch, self.net_decay)


@dataclass(frozen=True)
class Judging:
    """How the ends of games are judged, and where.

    Attributes:
        criterion: what is made small: the drop of the accuracy, its absolute value, the rise of
            the loss, or its absolute value (Table 4 of the paper).
        judged_on: "validation" for search-validation, or "training" as in the paper.
        val_samples: how many samples of it; 0 for all (5000 of the training split).
        recalibrate: unlabelled samples on which every candidate's batch norm statistics are
            measured anew, and the result's; 0 to leave them.
        workers: local processes; 0 for this one.
        dask: address of a Dask scheduler, such as tcp://host:8786.

    Raises:
        GoalError: if a number is out of range.
    """

    criterion: Criterion = "accuracy"
    judged_on: Split = "validation"
    val_samples: int = 0
    recalibrate: int = 0
    workers: int = 0
    dask: str = ""

    def __post_init__(self) -> None:
        for what in ("val_samples", "recalibrate", "workers"):
            if getattr(self, what) < 0:
                raise GoalError(f"{what} {getattr(self, what)}: must be 0 or more")

    def conditions(self, seed: int) -> Conditions:
        """Return under which conditions the evaluator judges.

        A judge of given batches has drawn its samples already.
        """
        has_drawn = self.judged_on == "training" or self.criterion.endswith("loss")
        return Conditions(0 if has_drawn else self.val_samples, self.recalibrate, seed)
