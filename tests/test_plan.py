"""The plan: frozen, hashable, and the same after a save and a load."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compressc.errors import PlanError
from compressc.plan import Plan

MASKS = st.dictionaries(
    st.text(min_size=1, max_size=6), arrays(bool, st.integers(0, 20)), max_size=4
)


def _plan() -> Plan:
    return Plan(
        keep={"b": np.array([True, False, True]), "a": np.array([False])},
        zero={"w": np.eye(3, dtype=bool)},
        rank={"fc": (3,), "conv": (2, 4)},
        choice={"node": 1},
    )


def test_masks_are_frozen_copies() -> None:
    mask = np.array([True, False])
    plan = Plan(keep={"a": mask})
    mask[0] = False
    assert plan.keep["a"].tolist() == [True, False]
    with pytest.raises(ValueError, match="read-only"):
        plan.keep["a"][0] = False
    with pytest.raises(TypeError):
        plan.keep["b"] = mask  # type: ignore[index]


def test_equality_is_of_decisions_not_of_order() -> None:
    left = Plan(keep={"a": np.array([True]), "b": np.array([False])})
    right = Plan(keep={"b": np.array([False]), "a": np.array([True])})
    assert left == right
    assert hash(left) == hash(right)
    assert len({left, right}) == 1


@pytest.mark.parametrize(
    "other",
    [
        Plan(),
        Plan(keep={"a": np.array([True, True])}),
        Plan(keep={"a": np.array([True])}),
        Plan(keep={"b": np.array([True, False])}),
        Plan(zero={"a": np.array([True, False])}),
        Plan(keep={"a": np.array([[True, False]])}),
        Plan(keep={"a": np.array([True, False])}, rank={"fc": (1,)}),
        Plan(keep={"a": np.array([True, False])}, choice={"n": 0}),
    ],
)
def test_digests_of_different_plans_differ(other: Plan) -> None:
    plan = Plan(keep={"a": np.array([True, False])})
    assert plan.digest != other.digest
    assert plan != other


def test_an_empty_plan_is_false() -> None:
    assert not Plan()
    assert Plan(choice={"n": 0})
    assert Plan() != object()


def test_digest_is_the_same_on_every_machine() -> None:
    assert _plan().digest.startswith("8ec6ffb2fb97")


def test_deciding_anew_leaves_the_rest() -> None:
    plan = _plan().with_keep({"a": np.array([True]), "c": np.array([False])})
    assert plan.keep["a"].tolist() == [True]
    assert plan.keep["b"].tolist() == [True, False, True]
    assert set(plan.with_zero({"v": np.array([True])}).zero) == {"v", "w"}
    assert plan.rank == _plan().rank


def test_pickling_keeps_the_plan() -> None:
    assert pickle.loads(pickle.dumps(_plan())) == _plan()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=MASKS, zero=MASKS)
def test_round_trip(
    tmp_path: Path, keep: dict[str, np.ndarray], zero: dict[str, np.ndarray]
) -> None:
    plan = Plan(keep=keep, zero=zero)
    plan.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert all((loaded.keep[name] == mask).all() for name, mask in keep.items())


def test_round_trip_of_every_kind(tmp_path: Path) -> None:
    _plan().save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == _plan()
    assert loaded.rank["conv"] == (2, 4)
    assert loaded.zero["w"].shape == (3, 3)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(PlanError, match="not a readable plan"):
        Plan.load(path)
    _plan().save(path)
    path.write_text("{")
    with pytest.raises(PlanError, match="not a readable plan"):
        Plan.load(path)
    _plan().save(path)
    masks = (tmp_path / "plan.npz").read_bytes()
    middle = len(masks) // 3
    for damaged in (b"", b"PK", masks[:-40], masks[:middle] + bytes(16) + masks[middle + 16 :]):
        (tmp_path / "plan.npz").write_bytes(damaged)
        with pytest.raises(PlanError):
            Plan.load(path)


def test_masks_of_another_plan_are_refused(tmp_path: Path) -> None:
    _plan().save(tmp_path / "plan.json")
    document = (tmp_path / "plan.json").read_text()
    _plan().with_keep({"a": np.array([True])}).save(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text(document)
    with pytest.raises(PlanError, match="do not match the digest"):
        Plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize("document", [[], {"keep": 3}, {"keep": {"a": {"array": "x"}}}])
def test_documents_of_another_shape_are_refused(tmp_path: Path, document: object) -> None:
    _plan().save(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError):
        Plan.load(tmp_path / "plan.json")
