"""Tree search, driven by toy games whose best moves are known."""

from __future__ import annotations

import numpy as np
import pytest

from compressc.passes.rl_mcts.tree import (
    Node,
    Outlook,
    Tree,
    back_up,
    search,
    select_by_bound,
    stir_prior,
    visit_shares,
)

SIMULATIONS = 300


class Maze:
    """Four moves of three kinds; beginning with 0 is decent, beginning with 1, 2, 0 is best.

    To begin with 1 is worse on average than to begin with 0, so only who looks ahead finds it. Move
    2 is not possible at first.
    """

    def key(self, state: tuple[int, ...]) -> tuple[int, ...]:
        return state

    def legal(self, state: tuple[int, ...]) -> np.ndarray:
        return np.array([True, True, bool(state)])

    def step(self, state: tuple[int, ...], action: int) -> tuple[int, ...]:
        assert self.legal(state)[action]
        return (*state, action)

    def is_over(self, state: tuple[int, ...]) -> bool:
        return len(state) == 4

    def worth(self, state: tuple[int, ...]) -> float:
        if state[0] == 0:
            return 0.1
        return 0.8 if state[1:3] == (2, 0) else -0.2


def expand(states):
    """Expect nothing of any state, and tell what ends are worth."""
    game = Maze()
    return [
        Outlook(None, game.worth(state)) if game.is_over(state) else Outlook(np.full(3, 1 / 3), 0.0)
        for state in states
    ]


def play(select=None, back=back_up, simulations: int = SIMULATIONS) -> tuple[int, ...]:
    """Return the game in which the most visited action is taken at every move."""
    game, state, tree = Maze(), (), Tree()
    while not game.is_over(state):
        search([tree], [state], game, expand, select or select_by_bound(1.0), back, simulations)
        visits = np.where(game.legal(state), tree[state].visits, 0)
        state = game.step(state, int(np.argmax(visits)))
    return state


def test_it_finds_the_best_end_behind_moves_that_look_worse():
    assert Maze().worth(play()) == 0.8


def with_wrong_sign(path, worth):
    back_up(path, -worth)


def to_the_leaf_only(path, worth):
    back_up(path[-1:], worth)


def with_alternating_sign(path, worth):
    """Play as if the other player moved next, as in chess."""
    for depth, (node, action) in enumerate(reversed(path)):
        back_up([(node, action)], worth * (-1) ** depth)


def without_counting(path, worth):
    for node, action in path:
        node.total[action] += worth


@pytest.mark.parametrize(
    "fault", [with_wrong_sign, to_the_leaf_only, with_alternating_sign, without_counting]
)
def test_a_planted_fault_in_backing_up_misses_it(fault):
    assert Maze().worth(play(back=fault)) < 0.8


def test_without_exploration_it_stays_with_what_it_saw_first():
    assert Maze().worth(play(select_by_bound(1e-9))) < 0.8


def test_choosing_what_is_impossible_is_noticed():
    def blind(node: Node, legal: np.ndarray) -> int:
        return select_by_bound(1.0)(node, np.ones_like(legal))

    with pytest.raises(AssertionError):
        play(blind)


def test_one_simulation_cannot_look_ahead():
    assert Maze().worth(play(simulations=1)) < 0.8


def test_the_bound_is_that_of_the_paper():
    prior, visits = np.array([0.5, 0.3, 0.2]), np.array([3, 1, 0])
    node = Node(prior, visits, np.array([0.9, 0.6, 0.0]))
    # Q + c P sqrt(4) / (1 + N): 0.3 + 2 * 0.5 * 2 / 4, 0.6 + 2 * 0.3 * 2 / 2, 0 + 2 * 0.2 * 2.
    assert np.allclose(node.means, [0.3, 0.6, 0.0])
    bounds = node.means + 2 * prior * 2 / (1 + visits)
    assert np.allclose(bounds, [0.8, 1.2, 0.8])
    everything = np.ones(3, dtype=bool)
    assert select_by_bound(2.0)(node, everything) == 1
    assert select_by_bound(20.0)(node, everything) == 2
    assert select_by_bound(0.0)(node, np.array([True, False, True])) == 0


def test_the_prior_counts_among_what_is_possible_only():
    node = Node(np.array([0.98, 0.01, 0.01]), np.array([0, 1, 0]), np.array([0.0, 0.4, 0.0]))
    # Of the two possible ones each has half: 0.4 + 0.5 / 2 against 0.5.
    assert select_by_bound(1.0)(node, np.array([False, True, True])) == 1
    assert select_by_bound(2.0)(node, np.array([False, True, True])) == 2


def test_unvisited_the_likeliest_action_comes_first():
    node = Node(np.array([0.2, 0.5, 0.3]), np.zeros(3, dtype=np.int64), np.zeros(3))
    assert select_by_bound(1.0)(node, np.ones(3, dtype=bool)) == 1


def test_shares_of_visits_follow_the_temperature():
    visits = np.array([6, 3, 0, 1])
    assert np.allclose(visit_shares(visits, 1.0), [0.6, 0.3, 0.0, 0.1])
    assert np.allclose(visit_shares(visits, 0.5), np.array([36, 9, 0, 1]) / 46)
    assert np.allclose(visit_shares(visits, 1e-3), [1, 0, 0, 0])


def test_noise_goes_to_possible_actions_and_keeps_the_sum():
    node = Node(np.array([0.6, 0.4, 0.0]), np.zeros(3, dtype=np.int64), np.zeros(3))
    stir_prior(node, np.array([True, False, True]), np.array([0.25, 0.75]), 0.5)
    assert np.allclose(node.prior, [0.425, 0.2, 0.375])


def test_visits_and_worths_add_up():
    tree: Tree = {}
    search([tree], [()], Maze(), expand, select_by_bound(1.0), back_up, SIMULATIONS)
    root = tree[()]
    assert root.visits.sum() == SIMULATIONS
    for action in (0, 1):
        below = tree[(action,)]
        # The visit that put the node there went no further.
        assert below.visits.sum() == root.visits[action] - 1
        assert below.total.sum() == pytest.approx(root.total[action])


def test_trees_that_search_together_find_what_each_finds_alone():
    stirred = []
    for number in range(3):
        tree: Tree = {}
        search([tree], [()], Maze(), expand, select_by_bound(1.0), back_up, 0)
        tree[()].prior = np.roll(np.array([0.7, 0.2, 0.1]), number)
        stirred.append(tree)
    alone = [
        {key: Node(n.prior, n.visits.copy(), n.total.copy()) for key, n in tree.items()}
        for tree in stirred
    ]
    search(stirred, [()] * 3, Maze(), expand, select_by_bound(1.0), back_up, 50)
    for tree, other in zip(stirred, alone, strict=True):
        search([other], [()], Maze(), expand, select_by_bound(1.0), back_up, 50)
        assert tree.keys() == other.keys()
        assert all((tree[key].visits == other[key].visits).all() for key in tree)
    assert len({tuple(tree[()].visits) for tree in stirred}) > 1


class Counting(Maze):
    """A game whose states are told apart by how often each move was made."""

    def key(self, state):
        return tuple(np.bincount(state, minlength=3)) if state else (0, 0, 0)


def test_states_with_one_key_share_a_node():
    tree: Tree = {}
    search([tree], [()], Counting(), expand, select_by_bound(1.0), back_up, SIMULATIONS)
    assert set(tree) <= {(a, b, c) for a in range(4) for b in range(4) for c in range(4)}
    assert tree[(1, 1, 0)].visits.sum() > 0
    assert len(tree) <= 20
