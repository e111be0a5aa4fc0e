"""Factorisation: one layer of the graph becomes two (SVD) or three (Tucker-2) smaller ones.

Given ``y = layer(x)``, the result is ``layer.expand(layer.core(layer.reduce(x)))``: ``reduce`` and
``expand`` are linear layers or 1x1 convolutions, ``core`` has the kernel, the stride, the padding
and the dilation. The bias goes with ``expand``. Without a core the strides are those of ``reduce``,
which then computes no position in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressc.coupling.graph import Coupling
from compressc.factors.low_rank import factor_weight
from compressc.factors.sites import FactorSite
from compressc.operators import argument_of

aten = torch.ops.aten

_PLAIN = {
    1: aten.conv1d.default,
    2: aten.conv2d.default,
    3: aten.conv3d.default,
}


def factorize_layers(
    module: fx.GraphModule, coupling: Coupling, rank: Mapping[str, tuple[int, ...]]
) -> None:
    """Replace layers by their factors in place; whether that saves anything is not asked here.

    Args:
        module: its tensors may have lost channels since ``coupling`` was built.
        coupling: says where the layers are.
        rank: ranks per layer.

    Raises:
        PlanError: if a layer cannot be factorised.
    """
    by_name = {node.name: node for node in module.graph.nodes}
    for layer, ranks in rank.items():
        site = coupling.factor_sites.site(layer)
        _Rewrite(module, site, by_name[site.node]).run(ranks)


class _Rewrite:
    """Rewrites one layer."""

    def __init__(self, module: fx.GraphModule, site: FactorSite, node: fx.Node) -> None:
        self._module = module
        self._site = site
        self._node = node
        self._source: fx.Node = argument_of(node, "input")
        self._weight: fx.Node = argument_of(node, "weight")
        self._bias: fx.Node | None = argument_of(node, "bias")
        self._space = self._weight.meta["val"].dim() - 2

    def run(self, ranks: tuple[int, ...]) -> None:
        """Put the factors in front of the node, which becomes the last of them."""
        old = self._module.get_parameter(self._site.weight)
        factors = factor_weight(old, ranks)
        ones = [1] * self._space

        def parameter(part: str, value: Tensor) -> fx.Node:
            fresh = nn.Parameter(value, requires_grad=old.requires_grad)
            return self._attach(f"{part}.weight", fresh, self._weight)

        plain = _PLAIN[self._space] if self._space else aten.linear.default
        reduce = parameter("reduce", factors.reduce.reshape(*factors.reduce.shape, *ones))
        if factors.core is None:
            hidden = self._insert("reduce", self._node, reduce, self._geometry())
        else:
            core = parameter("core", factors.core)
            hidden = self._insert("reduce", self._source, reduce, ())
            hidden = self._insert("core", self._node, core, self._geometry(), hidden)
        expand = parameter("expand", factors.expand.reshape(*factors.expand.shape, *ones))
        self._node.target = plain
        self._node.args = (hidden, expand, self._moved_bias())
        self._node.kwargs = {}
        self._describe(self._node, "expand")

    def _geometry(self) -> tuple[Any, ...]:
        """Return the arguments after the bias: stride, padding and dilation of a convolution."""
        if not self._space:
            return ()
        return tuple(argument_of(self._node, name) for name in ("stride", "padding", "dilation"))

    def _insert(
        self,
        part: str,
        like: fx.Node,
        weight: fx.Node,
        geometry: tuple[Any, ...],
        source: fx.Node | None = None,
    ) -> fx.Node:
        """Put a layer without bias before the node.

        Args:
            part: its name inside the layer.
            like: a node with as many positions as it will write.
            weight: of the new layer.
            geometry: stride, padding, dilation; none for a plain 1x1 convolution.
            source: what it reads, the layer's input by default.
        """
        target = self._node.target if geometry or not self._space else _PLAIN[self._space]
        arguments = (source or self._source, weight, None, *geometry)
        with self._module.graph.inserting_before(self._node):
            node = self._module.graph.create_node(
                "call_function", target, arguments, name=f"{self._node.name}_{part}"
            )
        value = like.meta["val"]
        shape = list(value.shape)
        shape[len(shape) - self._space - 1] = weight.meta["val"].shape[0]
        node.meta = {**self._node.meta, "val": value.new_empty(shape)}
        self._describe(node, part)
        return node

    def _describe(self, node: fx.Node, part: str) -> None:
        """Say which layer a node belongs to."""
        stack = dict(self._node.meta.get("nn_module_stack") or {})
        path = f"{self._site.layer}.{part}"
        kind = f"torch.nn.modules.conv.Conv{self._space}d"
        stack[path] = (path, kind if self._space else "torch.nn.modules.linear.Linear")
        node.meta = {**node.meta, "nn_module_stack": stack}
        node.meta.pop("tensor_meta", None)

    def _moved_bias(self) -> fx.Node | None:
        """Return the node of the bias, renamed where nothing else reads it."""
        bias = self._bias
        if bias is None or bias.op != "get_attr":
            return bias
        name = str(bias.target)
        readers = [n for n in self._module.graph.nodes if n.op == "get_attr" and n.target == name]
        parameters = dict(self._module.named_parameters())
        if len(readers) > 1 or len(bias.users) > 1 or name not in parameters:
            return bias
        return self._attach("expand.bias", parameters[name], bias)

    def _attach(self, name: str, value: nn.Parameter, like: fx.Node) -> fx.Node:
        path = f"{self._site.layer}.{name}"
        owner: nn.Module = self._module
        *parents, leaf = path.split(".")
        for parent in parents:
            if isinstance(getattr(owner, parent, None), Tensor):
                # A weight of the model itself gives its name to the layer that it becomes.
                delattr(owner, parent)
            if not hasattr(owner, parent):
                owner.add_module(parent, nn.Module())
            owner = getattr(owner, parent)
        owner.register_parameter(leaf, value)
        with self._module.graph.inserting_before(like):
            node = self._module.graph.get_attr(path)
        node.meta = dict(like.meta)
        node.meta["val"] = like.meta["val"].new_empty(value.shape)
        return node
