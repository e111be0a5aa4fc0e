"""The random networks reach every operation family that has rules."""

from __future__ import annotations

import pkgutil
from functools import cache

import pytest

import compressc.rules
from compressc.rules.propagation import load_rules
from compressc.rules.registry import RULES
from tests.strategies import Recipe, every_block

# Files of compressc/rules that hold no rules of their own.
_SHARED = {"registry", "records", "site", "propagation", "targets", "broadcasting"}

# Random supernets have tests of their own (tests/choices), and nodes that an ONNX file brings along
# are no module's (tests/frontend).
_ELSEWHERE = {"choosing", "kept_nodes"}


@cache
def _families_drawn() -> dict[str, set[str]]:
    """Return the operations that random networks are drawn from, by the file of their rule."""
    load_rules()
    drawn: dict[str, set[str]] = {}
    for block in every_block():
        for node in Recipe((block,)).capture().graph_module.graph.nodes:
            rule = RULES.get(node.target) if node.op == "call_function" else None
            if rule is not None:
                family = rule.__module__.rpartition(".")[2]
                drawn.setdefault(family, set()).add(str(node.target))
    return drawn


def test_the_shared_files_hold_no_family() -> None:
    load_rules()
    homes = {rule.__module__.rpartition(".")[2] for rule in RULES.values()}
    # Picking one of several outputs is no family.
    assert _SHARED & homes == {"registry"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    sorted({m.name for m in pkgutil.iter_modules(compressc.rules.__path__)} - _SHARED - _ELSEWHERE),
)
def test_random_networks_draw_from_every_family(family: str) -> None:
    assert _families_drawn().get(family)


@pytest.mark.slow
def test_tricky_operations_are_drawn() -> None:
    drawn = {name for names in _families_drawn().values() for name in names}
    for wanted in (
        "aten.conv1d.default",
        "aten.conv3d.default",
        "aten.conv_transpose2d.input",
        "aten.pixel_shuffle.default",
        "aten.scaled_dot_product_attention.default",
        "aten.einsum.default",
        "aten.lstm.input",
        "aten.gru.input",
        "aten.embedding.default",
        "aten.group_norm.default",
        "aten.layer_norm.default",
        "aten.slice.Tensor",
        "aten.chunk.default",
        "aten.prelu.default",
    ):
        assert wanted in drawn, f"{wanted} in no block; drawn are {sorted(drawn)}"
