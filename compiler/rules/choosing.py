"""The rule of architecture choices."""

from __future__ import annotations

from compressc.choices.operation import CHOOSE
from compressc.rules.broadcasting import broadcast
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value


@rule(CHOOSE)
def choose_one(site: Site) -> Value:
    """The candidates take each other's place, so their channels leave together."""
    axes = [site.axes_of(candidate) for candidate in site.arg("candidates")]
    return broadcast(site, [axis for axis in axes if axis is not None])
