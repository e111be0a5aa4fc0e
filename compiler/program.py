"""The Program: the one intermediate form of the compiler."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from compressc.errors import GoalError
from compressc.graphs.trainable import clone_module, trainable
from compressc.pictures import Picture
from compressc.plan import Plan

Made = TypeVar("Made")


# Where a program keeps what it derived and no constraint has a part in.
_UNCONSTRAINED = "whatever the constraints"

# No layer is as wide.
_LARGEST_STEP = 2**20


@dataclass(frozen=True)
class Constraints:
    """What the user or the machine forbids; couple() turns it into pins and step widths.

    Attributes:
        keep: glob patterns of layer names whose channels must all stay; a single one may stand
            alone.
        multiple_of: channel counts are kept at multiples of this (or at the original count).
        statistics: "kept" lets layer norms run over the surviving channels only; "frozen" pins
            every channel that a normalisation over channels reads.

    Raises:
        GoalError: if the multiple is out of range, or what statistics do is unknown.
    """

    keep: tuple[str, ...] = ()
    multiple_of: int = 1
    statistics: str = "kept"

    def __post_init__(self) -> None:
        patterns: Any = self.keep
        patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise GoalError(f"keep {self.keep!r}: give patterns of layer names, such as 'layer4.*'")
        object.__setattr__(self, "keep", patterns)
        if not 1 <= self.multiple_of <= _LARGEST_STEP:
            raise GoalError(f"multiple_of {self.multiple_of}: must be from 1 to {_LARGEST_STEP}")
        if self.statistics not in ("kept", "frozen"):
            raise GoalError(f"statistics '{self.statistics}': give kept or frozen")


@dataclass(frozen=True)
class HistoryLine:
    """One line of a Program's history: a pass or stage.

    Attributes:
        name: of the pass or stage.
        settings: its hyper-parameters.
        seconds: how long it took.
        notes: remarks for people.
        numbers: what it found, by name with unit, such as ``predicted_latency_ms``.
        pictures: of what it learned or chose, for the report.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))

    def __reduce__(self) -> tuple[object, ...]:
        settings, numbers = dict(self.settings), dict(self.numbers)
        values = (self.name, settings, self.seconds, self.notes, numbers, self.pictures)
        return (HistoryLine, values)


@dataclass(frozen=True, eq=False)
class Program:
    """A captured model with its parameters and the decisions pending on it.

    Attributes:
        graph_module: ATen training IR, in eval mode. Never changed in place: transforms return a
            new Program.
        example_inputs: one positional argument each, batch of 2 or more.
        dynamic_axes: per input, a mapping from axis to its readable name.
        input_names, output_names: names used in the ONNX file.
        plan: decisions that are not applied yet.
        constraints: what may not be touched.
        history: what was done so far, oldest first.
        sparse_weights: parameters whose zeros are decisions; training keeps them zero.
    """

    graph_module: torch.fx.GraphModule
    example_inputs: tuple[Tensor, ...]
    dynamic_axes: tuple[Mapping[int, str], ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    plan: Plan = field(default_factory=Plan)
    constraints: Constraints = field(default_factory=Constraints)
    history: tuple[HistoryLine, ...] = ()
    sparse_weights: tuple[str, ...] = ()
    _derived: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{name} {'x'.join('N' if axis in axes else str(n) for axis, n in enumerate(x.shape))}"
            for name, x, axes in zip(
                self.input_names, self.example_inputs, self.dynamic_axes, strict=True
            )
        )
        params = sum(tensor.numel() for tensor in self.graph_module.parameters())
        pending = ", decisions pending" if self.plan else ""
        return f"Program(inputs: {inputs}; {params} params{pending})"

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what ``make`` gives; it is called once per key, graph, weights and constraints.

        Runs for several goals share their scores this way.

        Args:
            key: what is asked for, with everything else that it depends on.
            make: computes it from this program, whatever its plan is.
        """
        if key not in self._derived:
            self._derived[key] = make()
        made: Made = self._derived[key]
        return made

    def once_for_all(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what ``make`` gives, as :meth:`once`, for what no constraint has a part in.

        Args:
            key: what is asked for, with everything else that it depends on.
            make: computes it from this program, whatever its plan and its constraints are.
        """
        shared: dict[Hashable, Made] = self.once(_UNCONSTRAINED, dict)
        if key not in shared:
            shared[key] = make()
        return shared[key]

    def with_plan(self, plan: Plan) -> Program:
        """Return this program with another pending plan.

        Whether it fits is checked by whatever uses it: ``couple(program).check(plan)``.
        """
        return replace(self, plan=plan)

    def with_constraints(self, constraints: Constraints) -> Program:
        """Return this program under other constraints; a pending plan must be made anew.

        What is derived under the same constraints is shared by all programs made so.
        """
        derived: dict[Any, Any] = self.once(("under", constraints), dict)
        derived.setdefault(_UNCONSTRAINED, self.once(_UNCONSTRAINED, dict))
        return replace(self, constraints=constraints, plan=Plan(), _derived=derived)

    def with_state(self, state: Mapping[str, Tensor]) -> Program:
        """Return this program with new parameter and buffer values of the same shapes."""
        module = clone_module(self.graph_module)
        module.load_state_dict(state, strict=True)
        # The coupling knows the tensors themselves, so it is built anew.
        return replace(self, graph_module=module, _derived={})

    def with_line(self, line: HistoryLine) -> Program:
        """Return this program with one more line of history."""
        return replace(self, history=(*self.history, line))

    def state(self) -> dict[str, Tensor]:
        """Return the parameters and buffers by name (shared, not copied)."""
        return dict(self.graph_module.state_dict())

    def module(self) -> nn.Module:
        """Return a trainable copy: ``train()``, ``eval()``, ``deepcopy`` and ``torch.save`` work.

        In train mode batch norms and dropouts behave as in the original model. Stochastic depth
        is not in a graph captured in eval mode, so it is lost.
        """
        return trainable(self.graph_module)
