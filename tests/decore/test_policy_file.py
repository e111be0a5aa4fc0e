"""Policies on disk, and training that was cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compressc.coupling.graph import cost_of
from compressc.errors import PolicyError
from compressc.goal import Goal
from compressc.passes.decore.agent_pruning import Decore
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.gates.gated_units import find_gated_units
from compressc.program import Constraints, Program
from tests.passes.training_kit import assert_same_weights, make_context, make_program


def decore(**fields) -> Decore:
    return Decore(
        **{"epochs": 1, "first_weight": 1.5, "agent_rate": 0.2, "precision": "float32", **fields}
    )


def context(macs: float = 0.6, work_dir: Path | None = None):
    return replace(make_context(work_dir), goal=Goal(macs=macs))


def made(program: Program, joint: bool = True) -> TrainedAgents:
    agents = find_gated_units(program)
    values = np.linspace(-1, 1, agents.count)
    return TrainedAgents(values, program.state() if joint else None, ("trained well",))


@pytest.mark.parametrize("mode", ["joint", "constraint"])
def test_one_file_serves_several_goals_without_training(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "policies.npz"
    one = decore(mode=mode, policies=str(file))
    first = one(make_program(), context())
    again = one(make_program(), replace(context(), task=None))
    assert again.plan == first.plan
    assert_same_weights(again, first)
    assert f"policies from {file}" in again.history[-1].notes[0] or any(
        f"policies from {file}" in note for step in again.history for note in step.notes
    )
    narrow = one(make_program(), replace(context(macs=0.3), task=None))
    assert cost_of(narrow).macs <= 0.3 * cost_of(make_program()).macs


def test_a_round_trip_keeps_everything(tmp_path: Path) -> None:
    program = make_program()
    agents, trained = find_gated_units(program), made(program)
    trained.save(tmp_path / "p.npz", program, agents)
    found = TrainedAgents.load(tmp_path / "p.npz", program, agents)
    assert np.array_equal(found.weights, trained.weights)
    assert found.network is not None
    for name, tensor in program.state().items():
        assert torch.equal(found.network[name], tensor)
        assert found.network[name].dtype == tensor.dtype
    assert found.notes[1:] == ("trained well",)


def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    program, other = make_program(), make_program(seed=5)
    agents, file = find_gated_units(program), tmp_path / "p.npz"
    made(program).save(file, program, agents)
    with pytest.raises(PolicyError, match="another model, or on other weights"):
        TrainedAgents.load(file, other, find_gated_units(other))
    pinned = program.with_constraints(Constraints(keep=("a",)))
    with pytest.raises(PolicyError, match="other constraints"):
        TrainedAgents.load(file, pinned, find_gated_units(pinned))
    content = file.read_bytes()
    for damaged in (b"", b"nonsense", content[: len(content) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(PolicyError, match="delete it to train anew") as caught:
            decore(policies=str(file))(program, context())
        assert "\n" not in str(caught.value)


def test_a_changed_weight_in_the_file_is_noticed(tmp_path: Path) -> None:
    program, file = make_program(), tmp_path / "p.npz"
    agents = find_gated_units(program)
    made(program).save(file, program, agents)
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["agent_weights"][0] += 1
    np.savez(file, **arrays)
    with pytest.raises(PolicyError, match="does not match its digest"):
        TrainedAgents.load(file, program, agents)


def test_the_channel_step_does_not_matter_to_the_file(tmp_path: Path) -> None:
    program, file = make_program(), tmp_path / "p.npz"
    made(program).save(file, program, find_gated_units(program))
    stepped = program.with_constraints(Constraints(multiple_of=4))
    assert TrainedAgents.load(file, stepped, find_gated_units(stepped)).weights.any()


class Killed(BaseException):
    """Stands for a signal; nothing handles it."""


def test_a_run_that_was_cut_off_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def kill(_done: int, _total: int, text: str) -> None:
        if text.startswith("epoch 3"):
            raise Killed

    one = decore(epochs=4)
    with pytest.raises(Killed):
        one(make_program(), replace(context(work_dir=tmp_path), progress=kill))
    assert len(list(tmp_path.glob("decore-*.state"))) == 1
    seen: list[str] = []
    watched = replace(context(work_dir=tmp_path), progress=lambda _d, _t, text: seen.append(text))
    resumed = one(make_program(), watched)
    assert seen[0].startswith("epoch 3 of 4")
    torch.manual_seed(99)
    whole = one(make_program(), context())
    assert resumed.plan == whole.plan
    assert_same_weights(resumed, whole)
