"""Tree search: functions over any game of one player whose end is worth something.

Nothing here knows of networks or channels. A game says what may be done, an ``expand`` what a
position that the tree does not know yet promises, and ``search`` looks ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from compressc.array_types import BoolArray, FloatArray, IntArray

State = TypeVar("State")


class Game(Protocol[State]):
    """A game of one player with a fixed number of actions."""

    def key(self, state: State) -> Hashable:
        """Return what identifies the node of a state; several states may share one."""
        ...

    def legal(self, state: State) -> BoolArray:
        """Return which actions are possible, shape (actions,); one at least unless it is over."""
        ...

    def step(self, state: State, action: int) -> State:
        """Return the state behind an action."""
        ...

    def is_over(self, state: State) -> bool:
        """Return whether the game ends here."""
        ...


@dataclass(frozen=True, eq=False)
class Outlook:
    """What a state promises.

    Attributes:
        prior: probability of each action, shape (actions,); None where the game is over.
        worth: expected worth of the end of the game, -1 to 1.
    """

    prior: FloatArray | None
    worth: float


@dataclass(eq=False)
class Node:
    """What a tree knows of one node, per action, shape (actions,) each.

    Attributes:
        prior: P, probability of each action before any visit.
        visits: N, how often each action was taken.
        total: W, sum of the worths that followed.
    """

    prior: FloatArray
    visits: IntArray
    total: FloatArray

    @property
    def means(self) -> FloatArray:
        """Q, mean worth behind each action; 0 where there was none (Eq. 3)."""
        means: FloatArray = self.total / np.maximum(self.visits, 1)
        return means


Tree = dict[Hashable, Node]
Path = list[tuple[Node, int]]
Expand = Callable[[Sequence[State]], Sequence[Outlook]]
Select = Callable[[Node, BoolArray], int]
BackUp = Callable[[Path, float], None]


@dataclass(frozen=True, eq=False)
class Descent(Generic[State]):
    """A way from a root to a state that the tree does not know, or at which the game is over."""

    path: Path
    state: State


def select_by_bound(exploration: float) -> Select:
    """Return the choice of the action with the highest upper bound (PUCT).

    ``U = Q + c P sqrt(sum of N) / (1 + N)``; among unvisited actions the likeliest comes first.

    Args:
        exploration: c.
    """

    def select(node: Node, legal: BoolArray) -> int:
        likely = np.where(legal, node.prior, 0.0)
        mass = likely.sum()
        likely = likely / mass if mass > 0 else legal / legal.sum()
        # Before the first visit the sum is 0, and the prior alone decides.
        reach = np.sqrt(max(1, int(node.visits.sum())))
        bound = node.means + exploration * likely * reach / (1 + node.visits)
        return int(np.argmax(np.where(legal, bound, -np.inf)))

    return select


def back_up(path: Path, worth: float) -> None:
    """Add the worth of what a path led to, to every action on it."""
    for node, action in path:
        node.visits[action] += 1
        node.total[action] += worth


def descend(tree: Tree, root: State, game: Game[State], select: Select) -> Descent[State]:
    """Return the way that the tree recommends, to the first state that it does not know."""
    path: Path = []
    state = root
    while not game.is_over(state):
        node = tree.get(game.key(state))
        if node is None:
            break
        action = select(node, game.legal(state))
        path.append((node, action))
        state = game.step(state, action)
    return Descent(path, state)


def search(
    trees: Sequence[Tree],
    roots: Sequence[State],
    game: Game[State],
    expand: Expand[State],
    select: Select,
    back_up: BackUp,
    simulations: int,
) -> None:
    """Look ahead from some states, each in a tree of its own, step by step together.

    In every step each tree descends once; what the trees arrive at is expanded in one call, so
    that networks can take it as a batch and candidates can be judged side by side. The answer does
    not depend on where that is done. Nodes are put into the trees, which may know some already.

    Args:
        trees: by node; changed in place.
        roots: one state per tree, at which the game is not over; several trees may share one.
        game: the rules.
        expand: returns the outlook of each state.
        select: chooses an action of a node.
        back_up: takes the worth of a state back to the root.
        simulations: descents per tree.
    """
    unknown = [
        (tree, root) for tree, root in zip(trees, roots, strict=True) if game.key(root) not in tree
    ]
    if unknown:
        for (tree, root), outlook in zip(unknown, expand([r for _, r in unknown]), strict=True):
            add_node(tree, game.key(root), outlook)
    for _ in range(simulations):
        descents = [
            descend(tree, root, game, select) for tree, root in zip(trees, roots, strict=True)
        ]
        outlooks = expand([descent.state for descent in descents])
        for tree, descent, outlook in zip(trees, descents, outlooks, strict=True):
            if outlook.prior is not None:
                add_node(tree, game.key(descent.state), outlook)
            back_up(descent.path, outlook.worth)


def visit_shares(visits: IntArray, temperature: float) -> FloatArray:
    """Return pi, the share of each action: its visits to the power of 1 / temperature (Eq. 4).

    Args:
        visits: of a root, summed over its trees, shape (actions,); some are not 0.
        temperature: tau; the lower, the more the most visited action stands out.
    """
    # Of the largest one, so that no power overflows.
    powers = (visits / visits.max()) ** (1.0 / temperature)
    shares: FloatArray = powers / powers.sum()
    return shares


def stir_prior(node: Node, legal: BoolArray, noise: FloatArray, share: float) -> None:
    """Mix noise into the prior of a root, so that trees from one root differ.

    Args:
        node: of the root.
        legal: its actions.
        noise: probabilities of the legal actions, shape (legal actions,).
        share: of the noise in the mixture.
    """
    mixed = (1 - share) * node.prior
    mixed[legal] += share * noise
    node.prior = mixed


def add_node(tree: Tree, key: Hashable, outlook: Outlook) -> None:
    """Put a node that nobody has visited into a tree; its game is not over."""
    assert outlook.prior is not None
    count = len(outlook.prior)
    tree[key] = Node(outlook.prior, np.zeros(count, dtype=np.int64), np.zeros(count))
