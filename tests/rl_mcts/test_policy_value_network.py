"""The state matrix, the policy and value network, its loss, its training and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compressc.errors import FeatureError, PolicyError
from compressc.passes.rl_mcts.guide import Guide, follow, make_logits
from compressc.passes.rl_mcts.network_file import read_network, save_network
from compressc.passes.rl_mcts.network_training import TrainingRule, train_network
from compressc.passes.rl_mcts.policy_value_network import foresee, make_network, sum_loss
from compressc.passes.rl_mcts.prunable_units import list_units
from compressc.passes.rl_mcts.replay import Lesson, Replay
from compressc.passes.rl_mcts.state_matrix import MEASURED, ROWS, fill_sheet
from compressc.passes.unit_features.registry import measure_feature
from compressc.passes.unit_features.samples import UnitSamples
from compressc.store.records import Record
from tests.search_kit import trained

UNITS = 24
RULE = TrainingRule(epochs=60, rate=3e-3, batch=16, decay=1e-4)


def sheet_of(change=None):
    program, task = trained()
    samples = UnitSamples(task, 64, 0, "test")
    units = list_units(program, measure_feature(program, "l2"))

    def measure(name):
        values = measure_feature(program, name, samples)
        return values if change is None else change(name, dict(values))

    return units, fill_sheet(units, measure)


def test_columns_are_units_and_rows_are_features():
    units, sheet = sheet_of()
    matrix = sheet.matrix(units.everything).numpy()
    assert matrix.shape == (len(ROWS), units.count) == (7, 52)
    for row, name in enumerate(MEASURED):
        for group, part in units.by_group(matrix[row]).items():
            raw = units.by_group(sheet.raw[name])[group]
            expected = raw if name == "apoz" else np.minimum(raw / raw.mean(), 10.0)
            assert np.allclose(part, expected, atol=1e-6)
    sizes = np.array([group.size for group in units.groups])[units.owner]
    assert np.allclose(matrix[4], np.log2(sizes) / 10)
    assert np.allclose(matrix[5], matrix[4])
    assert matrix[6].min() == 0
    assert matrix[6].max() == 1


def test_units_that_left_are_empty_and_their_group_is_narrower():
    units, sheet = sheet_of()
    kept = units.everything
    kept[:5] = False
    matrix = sheet.matrix(kept).numpy()
    assert (matrix[:, :5] == 0).all()
    left = units.groups[0].size - 5
    assert np.allclose(matrix[5, 5 : units.groups[0].size], np.log2(left) / 10)
    assert np.allclose(matrix[4], sheet.matrix(units.everything)[4] * kept)


@pytest.mark.parametrize("name", MEASURED)
def test_a_feature_that_is_no_number_is_named(name):
    def spoil(measured, values):
        if measured == name:
            values["a"] = values["a"].copy()
            values["a"][3] = np.nan
        return values

    with pytest.raises(FeatureError, match=rf"'{name}' of 'a' is no number \(unit 3\)"):
        sheet_of(spoil)


def test_the_loss_is_that_of_the_paper():
    logs = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0]]))
    shares = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    loss = sum_loss(logs, torch.tensor([0.5, -1.0]), shares, torch.tensor([1.0, 1.0]))
    first = 0.25 - np.log(0.5)
    second = 4.0 - 0.5 * np.log(0.2) - 0.5 * np.log(0.8)
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-6)


def test_decay_is_the_gradient_of_the_squared_norm():
    network = make_network(2, 0)
    rule = TrainingRule(1, 1e-3, 4, 0.3)
    group = rule.open_optimizer(network).param_groups[0]
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    (0.3 * weight.square()).backward()
    assert float(weight.grad) == pytest.approx(group["weight_decay"] * 2.0)


def ask(network, guide=None, legal=None, units: int = UNITS):
    states = torch.randn(3, 7, units, generator=torch.Generator().manual_seed(0))
    legal = np.ones(units, dtype=bool) if legal is None else legal
    guide = np.zeros(units) if guide is None else guide
    return foresee(network, list(states), [legal] * 3, [guide] * 3)


def test_untrained_it_is_uniform_or_its_guide():
    for look in ask(make_network(4, 0)):
        assert np.allclose(look.prior, 1 / UNITS)
        assert look.worth == 0
    guide = make_logits(np.arange(UNITS, dtype=float), 0.2)
    for look in ask(make_network(4, 0), guide):
        assert np.allclose(look.prior, np.exp(guide) / np.exp(guide).sum())
        assert np.argmax(look.prior) == 0
    legal = np.arange(UNITS) >= 3
    assert np.argmax(ask(make_network(4, 0), guide, legal)[0].prior) == 3


def test_only_legal_units_have_a_probability():
    legal = np.zeros(UNITS, dtype=bool)
    legal[[2, 5]] = True
    (look, *_) = ask(make_network(4, 0), legal=legal)
    assert look.prior[legal].sum() == pytest.approx(1)
    assert (look.prior[~legal] == 0).all()


@pytest.mark.parametrize("units", [1, 5, 70, 301])
def test_one_network_reads_any_number_of_units(units):
    assert ask(make_network(4, 0), units=units)[0].prior.shape == (units,)


def lessons_of(count: int = 48) -> tuple[list[Lesson], dict[bytes, torch.Tensor]]:
    """Return lessons in which the unit with the least first feature goes, and the others' mean."""
    rng = np.random.default_rng(0)
    lessons, states = [], {}
    for number in range(count):
        kept = np.ones(UNITS, dtype=bool)
        kept[rng.integers(UNITS)] = False
        matrix = torch.from_numpy(rng.random((7, UNITS)).astype(np.float32) * kept)
        shares = np.zeros(UNITS, dtype=np.float32)
        shares[int(np.argmin(np.where(kept, matrix[0].numpy(), np.inf)))] = 1
        lessons.append(
            Lesson(
                kept,
                kept,
                np.zeros(UNITS, dtype=np.float32),
                shares,
                1.0 if number % 2 else -1.0,
                number,
            )
        )
        matrix[1] = float(number % 2) * torch.from_numpy(kept)
        states[number] = matrix
    return lessons, states


def test_it_learns_which_units_leave_and_who_wins():
    lessons, states = lessons_of()
    network = make_network(8, 0)

    def describe(kept, sheet):
        return states[sheet]

    optimizer = RULE.open_optimizer(network)
    first = train_network(
        network,
        optimizer,
        lessons,
        describe,
        TrainingRule(1, 3e-3, 16, 1e-4),
        np.random.default_rng(0),
    )
    last = train_network(network, optimizer, lessons, describe, RULE, np.random.default_rng(0))
    assert last < 0.6 * first
    looks = foresee(
        network,
        list(states.values()),
        [lesson.legal for lesson in lessons],
        [np.zeros(UNITS)] * len(lessons),
    )
    right = [
        np.argmax(look.prior) == np.argmax(lesson.shares)
        for look, lesson in zip(looks, lessons, strict=True)
    ]
    assert np.mean(right) > 0.3  # by chance 0.04
    assert (
        np.mean(
            [
                np.sign(look.worth) == lesson.worth
                for look, lesson in zip(looks, lessons, strict=True)
            ]
        )
        > 0.9
    )


def test_training_is_the_same_for_the_same_seed_whatever_torch_drew_before():
    lessons, states = lessons_of(16)

    def train():
        network = make_network(4, 7)
        rule = TrainingRule(3, 1e-3, 8, 1e-4)
        train_network(
            network,
            rule.open_optimizer(network),
            lessons,
            lambda kept, sheet: states[sheet],
            rule,
            np.random.default_rng(1),
        )
        return network.state_dict()

    torch.manual_seed(1)
    first = train()
    torch.manual_seed(2)
    second = train()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_queue_forgets_the_oldest_and_survives_a_round_trip():
    lessons, _ = lessons_of(10)
    queue, again = Replay(4), Replay(4)
    queue.add(lessons)
    assert [lesson.sheet for lesson in queue.lessons] == [6, 7, 8, 9]
    again.unpack(queue.pack())
    for lesson, other in zip(queue.lessons, again.lessons, strict=True):
        assert (lesson.kept == other.kept).all()
        assert (lesson.shares == other.shares).all()
        assert (lesson.worth, lesson.sheet) == (other.worth, other.sheet)
    again.unpack(Replay(4).pack())
    assert not again.lessons


def test_a_network_goes_through_its_file(tmp_path):
    network = make_network(6, 3)
    save_network(tmp_path / "f.safetensors", network, 6)
    read, width = read_network(tmp_path / "f.safetensors")
    assert width == 6
    for name, tensor in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)


def test_a_network_of_other_features_is_refused_in_one_line(tmp_path):
    path, network = tmp_path / "f.safetensors", make_network(4, 0)
    save_network(path, network, 4)
    record = Record.from_bytes(path.read_bytes())
    for change, message in (
        ({"rows": ["activation", "depth"]}, "trained on the features activation, depth; this"),
        ({"width": 5}, "its weights do not fit its width"),
        ({"format": "other"}, "is no policy and value network"),
    ):
        changed = Record({**record.document, **change}, record.tensors)
        path.write_bytes(changed.to_bytes())
        with pytest.raises(PolicyError, match=message) as error:
            read_network(path)
        assert "\n" not in str(error.value)
    for content in (b"", b"nonsense"):
        path.write_bytes(content)
        with pytest.raises(PolicyError, match="is no policy and value network"):
            read_network(path)
    with pytest.raises(PolicyError, match="cannot be read"):
        read_network(tmp_path / "missing")


def test_the_guide_follows_another_candidate_in_widths_and_units():
    units, _ = sheet_of()
    worth = np.random.default_rng(0).random(units.count) + 0.1
    kept = np.random.default_rng(1).random(units.count) < 0.6
    order = np.argsort(follow(units, worth, kept), kind="stable")
    assert set(order[: int((~kept).sum())]) == set(np.flatnonzero(~kept))
    for group in range(len(units.groups)):
        for side in (kept, ~kept):
            inside = [u for u in order if units.owner[u] == group and side[u]]
            assert (np.diff(worth[inside]) >= 0).all()


def test_a_guide_prefers_what_is_worth_least_and_may_be_none():
    units, _ = sheet_of()
    worth = 1.0 + np.arange(units.count)
    guide = Guide(units, worth, 0.1)
    assert np.allclose(np.diff(guide.logits()), -1 / 5.2)
    assert np.allclose(np.diff(guide.logits(wider=2.0)), -1 / 10.4)
    heavy = guide.logits(deviates=np.array([9.0, 0.0, 0.0]))
    assert heavy[: units.groups[0].size].max() < heavy[units.groups[0].size :].max()
    assert (Guide(units, None, 0.1).logits(units.everything) == 0).all()
