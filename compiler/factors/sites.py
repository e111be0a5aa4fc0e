"""Which layers can be factorised, and what they cost at given ranks.

SVD turns a linear layer or a 1x1 convolution into two layers, Tucker-2 any other convolution into
three: 1x1, the kernel with the original's stride, padding and dilation, 1x1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import fx

from compressc.array_types import IntArray
from compressc.channels.axes import Axis
from compressc.channels.shapes import hinted_shape, value_of
from compressc.errors import PlanError
from compressc.operators import argument_of
from compressc.rules.propagation import Propagation
from compressc.rules.records import MacsTerm

aten = torch.ops.aten

CONVOLUTIONS = frozenset(
    {
        aten.conv1d.default,
        aten.conv2d.default,
        aten.conv3d.default,
        aten.conv1d.padding,
        aten.conv2d.padding,
        aten.conv3d.padding,
    }
)
# Names of the new layers inside the old one.
PARTS = ("reduce", "core", "expand")


@dataclass(frozen=True)
class Amount:
    """A cost that is ``per_input * inputs + per_output * outputs + constant``."""

    per_input: int
    per_output: int
    constant: int

    def at(self, inputs: int, outputs: int) -> int:
        """Return the cost for so many channels."""
        return self.per_input * inputs + self.per_output * outputs + self.constant


@dataclass(frozen=True, eq=False)
class FactorSite:
    """One layer that can be factorised.

    Attributes:
        layer: its name.
        node: the graph's node that computes it.
        weight: name of its weight, shape (out, in, kernel...).
        out_axis, in_axis: the weight's channel axes.
        modes: how many ranks it takes: 1 for SVD, 2 (r_out, r_in) for Tucker-2.
        kernel: weights per pair of channels.
        read, written: positions per sample at which the layer reads and writes all channels.
        lead: ids of axes before the channels that may shrink, too.
    """

    layer: str
    node: str
    weight: str
    out_axis: Axis
    in_axis: Axis
    modes: int
    kernel: int
    read: int
    written: int
    lead: tuple[IntArray, ...]

    @property
    def method(self) -> str:
        """What users call the factorisation."""
        return "SVD" if self.modes == 1 else "Tucker-2"

    def macs(self, ranks: Sequence[int]) -> Amount:
        """Return MACs per sample of the factorised layer, with every leading position."""
        # The reduction of an SVD has the layer's stride, so it runs where the layer writes.
        return self._amount(ranks, self.written if self.modes == 1 else self.read, self.written)

    def params(self, ranks: Sequence[int]) -> Amount:
        """Return the elements of the factors."""
        return self._amount(ranks, 1, 1)

    def _amount(self, ranks: Sequence[int], read: int, written: int) -> Amount:
        r_out, r_in = ranks[0], ranks[-1]
        core = 0 if self.modes == 1 else r_out * r_in * self.kernel * written
        return Amount(r_in * read, r_out * written, core)

    def saves(self, ranks: Sequence[int], inputs: int, outputs: int) -> bool:
        """Return whether factorising takes fewer MACs than the layer with so many channels."""
        return self.macs(ranks).at(inputs, outputs) < self.whole_macs(inputs, outputs)

    def clipped(self, ranks: Sequence[int], inputs: int, outputs: int) -> tuple[int, ...]:
        """Return the ranks, none above what so many channels can have."""
        return tuple(
            min(r, size) for r, size in zip(ranks, self.sizes(inputs, outputs), strict=True)
        )

    def sizes(self, inputs: int, outputs: int) -> tuple[int, ...]:
        """Return the full ranks of the layer with so many channels."""
        return (min(inputs, outputs),) if self.modes == 1 else (outputs, inputs)

    def whole_macs(self, inputs: int, outputs: int) -> int:
        """Return MACs per sample of the layer itself."""
        return inputs * outputs * self.kernel * self.written

    def check(self, ranks: Sequence[int], inputs: int, outputs: int) -> None:
        """Check that ranks fit the layer with so many channels and make it cheaper.

        Raises:
            PlanError: naming the layer and what is wrong.
        """
        if len(ranks) != self.modes:
            form = "(r,)" if self.modes == 1 else "(r_out, r_in)"
            raise PlanError(f"ranks {tuple(ranks)} of '{self.layer}': {self.method} takes {form}")
        sizes = self.sizes(inputs, outputs)
        if any(not 1 <= rank <= size for rank, size in zip(ranks, sizes, strict=True)):
            raise PlanError(
                f"ranks {tuple(ranks)} of '{self.layer}': must lie between 1 and "
                f"{sizes if self.modes > 1 else sizes[0]}, the channels that stay"
            )
        if not self.saves(ranks, inputs, outputs):
            raise PlanError(
                f"ranks {tuple(ranks)} of '{self.layer}': {self.method} would take "
                f"{self.macs(ranks).at(inputs, outputs)} MACs, the layer itself takes "
                f"{self.whole_macs(inputs, outputs)}; lower the ranks or leave them out"
            )


@dataclass(frozen=True, eq=False)
class FactorSites:
    """Every layer with a weight: those that can be factorised, and why the others cannot."""

    sites: Mapping[str, FactorSite]
    refusals: Mapping[str, str]

    def site(self, layer: str) -> FactorSite:
        """Return the site of a layer.

        Raises:
            PlanError: if there is no such layer, or it cannot be factorised.
        """
        if layer in self.sites:
            return self.sites[layer]
        if layer in self.refusals:
            raise PlanError(f"'{layer}' cannot be factorised: it {self.refusals[layer]}")
        raise PlanError(f"ranks for '{layer}': the model has no layer of this name with a weight")


def find_factor_sites(module: fx.GraphModule, propagation: Propagation) -> FactorSites:
    """Look at every multiplication with a weight."""
    by_name = {node.name: node for node in module.graph.nodes}
    readers: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            name = propagation.canonical.get(str(node.target), "")
            readers[name] = readers.get(name, 0) + len(node.users)
    sites: dict[str, FactorSite] = {}
    refusals: dict[str, str] = {}
    for term in propagation.records.macs:
        if not term.weight:
            continue
        node = by_name[term.node]
        if term.layer in sites or term.layer in refusals:
            reason = "is used more than once, or has several weights"
        else:
            reason = _refusal(node, term, propagation, readers)
        if reason:
            sites.pop(term.layer, None)
            refusals.setdefault(term.layer, reason)
        else:
            sites[term.layer] = _site(node, term, propagation)
    return FactorSites(sites, refusals)


def _refusal(
    node: fx.Node, term: MacsTerm, propagation: Propagation, readers: Mapping[str, int]
) -> str:
    """Return why a layer cannot be factorised, or ""."""
    if node.target not in CONVOLUTIONS and node.target is not aten.linear.default:
        return f"is a {term.operation}; only linear layers and plain convolutions can be"
    weight = argument_of(node, "weight")
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return "has a weight that is computed"
    name = str(weight.target)
    tensor = propagation.tensors[name]
    if name != term.weight or tensor.dim() < 2 or not propagation.is_parameter(name):
        return "has no weight matrix of its own"
    tied = sum(first == propagation.canonical[name] for first in propagation.canonical.values())
    if tied > 1 or readers[propagation.canonical[name]] > 1:
        return "is used more than once, or shares its weight"
    if node.target in CONVOLUTIONS:
        conv_groups = argument_of(node, "groups")
        if conv_groups != 1:
            return f"is a convolution with {conv_groups} conv groups"
        if tuple(tensor.shape[:2]) == (1, 1):
            return "is a filter of one channel"
    taken = [part for part in PARTS if _has_part(propagation, term.layer, part)]
    return f"already has a part called '{taken[0]}'" if taken else ""


def _has_part(propagation: Propagation, layer: str, part: str) -> bool:
    path = f"{layer}.{part}"
    return any(name == path or name.startswith(f"{path}.") for name in propagation.tensors)


def _site(node: fx.Node, term: MacsTerm, propagation: Propagation) -> FactorSite:
    tensor = propagation.tensors[term.weight]
    out_axis, in_axis, *_ = propagation.parameters[propagation.canonical[term.weight]]
    source = argument_of(node, "input")
    axes = propagation.values[source.name]
    space = tensor.dim() - 2
    kernel = prod(tensor.shape[2:])
    written = round(term.total) // prod(tensor.shape)
    read = written
    if space:  # other sizes may depend on the data, and have no hint
        before, after = hinted_shape(value_of(source)), hinted_shape(value_of(node))
        read = written // prod(after[-space:]) * prod(before[-space:])
    leading = axes[: len(axes) - space - 1] if isinstance(axes, tuple) else ()
    return FactorSite(
        layer=term.layer,
        node=term.node,
        weight=term.weight,
        out_axis=out_axis,
        in_axis=in_axis,
        modes=1 if kernel == 1 else 2,
        kernel=kernel,
        read=read,
        written=written,
        lead=tuple(f.ids for axis in leading for f in axis if f.ids is not None),
    )
