"""Programs made by hand, one ATen operation at a time.

Export rewrites what it captures, so some operations can only be put into a graph directly. A
:class:`Kit` records calls of ``torch.ops.aten`` on proxies and gives every node its fake value with
a symbolic batch where asked for, as capture does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.utils import _pytree as pytree

from compressc.program import Program

aten = torch.ops.aten
BATCH = 3


class Kit:
    """A graph under construction.

    Attributes:
        x: the input, shape (batch, 3, 6, 6).
    """

    def __init__(self, *, dynamic_batch: bool = False) -> None:
        self._dynamic_batch = dynamic_batch
        self.root = nn.Module()
        self.graph = fx.Graph()
        self._tracer = fx.proxy.GraphAppendingTracer(self.graph)
        self._generator = torch.Generator().manual_seed(0)
        self._inputs: list[Tensor] = []
        self.x = self.input("x", self.noise(BATCH, 3, 6, 6))

    def noise(self, *shape: int) -> Tensor:
        """Return normal noise."""
        return torch.randn(*shape, generator=self._generator)

    def input(self, name: str, example: Tensor) -> Any:
        """Add an input; its first axis is the batch."""
        last = [node for node in self.graph.nodes if node.op == "placeholder"][-1:]
        with self.graph.inserting_after(last[0] if last else None):
            node = self.graph.placeholder(name)
        self._inputs.append(example)
        return fx.Proxy(node, self._tracer)

    def call(self, op: Any, *arguments: Any) -> Any:
        """Record an operation that takes no tensor."""
        nodes = pytree.tree_map_only(fx.Proxy, lambda proxy: proxy.node, arguments)
        return fx.Proxy(self.graph.call_function(op, nodes), self._tracer)

    def _attribute(self, name: str) -> Any:
        return fx.Proxy(self.graph.get_attr(name, type_expr=None), self._tracer)

    def param(self, name: str, *shape: int) -> Any:
        """Add a parameter called ``name`` ("layer.weight") with random values."""
        owner, _, leaf = name.rpartition(".")
        if owner and not hasattr(self.root, owner):
            self.root.add_module(owner, nn.Module())
        module = self.root.get_submodule(owner)
        if not hasattr(module, leaf):
            module.register_parameter(leaf, nn.Parameter(self.noise(*shape)))
        return self._attribute(name)

    def buffer(self, name: str, value: Tensor) -> Any:
        """Add a buffer with the given value."""
        self.root.register_buffer(name, value)
        return self._attribute(name)

    def conv(self, name: str, x: Any, channels: int, out: int, kernel: int = 1) -> Any:
        """Apply a convolution that keeps height and width."""
        weight = self.param(f"{name}.weight", out, channels, kernel, kernel)
        bias = self.param(f"{name}.bias", out)
        return aten.conv2d.default(x, weight, bias, [1, 1], [kernel // 2, kernel // 2])

    def source(self, name: str, out: int = 8) -> Any:
        """Return ``out`` channels made from the input by a layer of their own."""
        return self.conv(name, self.x, 3, out)

    def linear(self, name: str, x: Any, channels: int, out: int) -> Any:
        """Apply a linear layer to the last axis."""
        weight, bias = self.param(f"{name}.weight", out, channels), self.param(f"{name}.bias", out)
        return aten.linear.default(x, weight, bias)

    def read(self, name: str, value: Any, channels: int, dim: int = 1) -> Any:
        """Sum ``channels`` channels on axis ``dim`` into four outputs, last."""
        return self.linear(name, aten.movedim.int(value, dim, -1), channels, 4)

    def program(self, *outputs: Any) -> Program:
        """Return the program that computes the outputs."""
        self.graph.output(tuple(output.node for output in outputs))
        module = fx.GraphModule(self.root, self.graph).eval()
        module.graph._tracer_cls = None
        _fake(module, self._inputs, dynamic_batch=self._dynamic_batch)
        return Program(
            graph_module=module,
            example_inputs=tuple(self._inputs),
            dynamic_axes=tuple({0: "batch"} if self._dynamic_batch else {} for _ in self._inputs),
            input_names=tuple(
                str(node.target) for node in module.graph.nodes if node.op == "placeholder"
            ),
            output_names=tuple(f"output_{index}" for index in range(len(outputs))),
        )


class _Faker(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, mode: FakeTensorMode) -> None:
        super().__init__(module)
        self.mode = mode

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "get_attr":
            value = self.mode.from_tensor(self.fetch_attr(str(n.target)), static_shapes=True)
        else:
            value = super().run_node(n)
        if n.op != "output":
            # A later operation may change the value's shape in place.
            n.meta["val"] = pytree.tree_map_only(Tensor, Tensor.detach, value)
        return value


def _fake(module: fx.GraphModule, inputs: list[Tensor], *, dynamic_batch: bool) -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    fakes: list[Tensor] = []
    batch = DimDynamic.DYNAMIC if dynamic_batch else DimDynamic.STATIC
    for example in inputs:
        sizes = [batch] + [DimDynamic.STATIC] * (example.dim() - 1)
        if fakes:
            # All inputs share the first one's batch.
            fakes.append(_like(mode, fakes[0], example))
            continue
        context = StatelessSymbolicContext(dynamic_sizes=sizes)
        fakes.append(mode.from_tensor(example, symbolic_context=context))
    with mode, torch.no_grad():
        _Faker(module, mode).run(*fakes)


def _like(mode: FakeTensorMode, first: Tensor, example: Tensor) -> Tensor:
    with mode:
        return torch.empty((first.shape[0], *example.shape[1:]), dtype=example.dtype)
