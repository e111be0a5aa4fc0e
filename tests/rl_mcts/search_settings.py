"""Searches that take seconds on the small network of tests.search_kit."""

from __future__ import annotations

from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.pass_fields import build_pass, read_settings
from compressc.passes.rl_mcts.channel_pruning import RlMcts
from compressc.program import Program
from tests.search_kit import trained

QUICK = {
    "simulations": 8,
    "self_plays": 2,
    "ends_per_game": 1,
    "net_width": 4,
    "net_epochs": 2,
    "net_rate": 1e-3,
    "feature_samples": 64,
    "segment": 0.2,
    "units_per_move": 4,
    "iterations": 2,
    "finalists": 0,
}


def make_search(**settings: object) -> RlMcts:
    """Return a quick search with some settings."""
    search: RlMcts = build_pass(RlMcts, {**QUICK, **settings})
    return search


def change(search: RlMcts, **settings: object) -> RlMcts:
    """Return a search with some settings changed."""
    changed: RlMcts = build_pass(RlMcts, {**read_settings(search), **settings})
    return changed


def run(search: RlMcts | None = None, goal: Goal | None = None, **fields: object) -> Program:
    """Return what a search makes of the small network."""
    program, task = trained()
    context = Context(goal or Goal(macs=0.5, trials=40), **{"task": task, **fields})
    return (search or make_search())(program, context)
