"""Gates on activations: factors put into a captured network as multiplications."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from compressc.passes.gates.gated_units import Gate, GatedUnits
from compressc.proof.masking import replace_operand

# A plain attribute, neither parameter nor buffer: weights are saved and averaged without it.
_FACTORS = "_factors"


class GatedNetwork:
    """A network in whose graph factors multiply what layers read.

    Factors are any real numbers: 1 leaves a channel as it is, 0 silences it. Gradients flow to
    them, so they may be what learns.

    Args:
        module: the network, whose graph is changed in place; its state dict stays as it is.
        units: which factors there are, and where they multiply.
        device: of the network.
    """

    def __init__(self, module: fx.GraphModule, units: GatedUnits, device: torch.device) -> None:
        self.module = module
        self._open = torch.ones(1, 1, device=device)
        self.set_factors(torch.ones(1, units.count, device=device))
        _Insertion(module, units, device).run()

    def set_factors(self, factors: Tensor) -> None:
        """Let the next forward passes run under these factors.

        Shape:
            factors: (samples, units), or (1, units) for all samples alike.
        """
        # The last column is for channels without a unit.
        extended = torch.cat([factors, self._open.expand(len(factors), 1)], dim=1)
        setattr(self.module, _FACTORS, extended)


def _spread(factors: Tensor, indices: list[Tensor], repeats: int, shape: list[int]) -> Tensor:
    """Return what a value is multiplied with: ``shape``, behind the rows where there are any."""
    gate = factors.index_select(1, indices[0])
    for index in indices[1:]:
        gate = gate * factors.index_select(1, index)
    if repeats > 1 and len(gate) > 1:
        gate = gate.repeat_interleave(repeats, dim=0)
    return gate.view([len(gate), *shape]) if repeats else gate.view(shape)


def _multiply(value: Tensor, gate: Tensor) -> Tensor:
    gate = gate.to(value.dtype)
    if _is_image_of_channels_last(value) and gate.shape[2:] == (1, 1):
        # A row of pixels at a time: 16 channels alone are too few for a fast loop (3 times).
        rows, channels, height, width = value.shape
        pixels = value.permute(0, 2, 3, 1).reshape(rows, height, width * channels)
        product = pixels * gate.view(-1, 1, channels).repeat(1, 1, width)
        return product.view(rows, height, width, channels).permute(0, 3, 1, 2)
    return value * gate


def _is_image_of_channels_last(value: Tensor) -> bool:
    return value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)


class _Insertion:
    """Puts gates into one graph; gates of the same channels share what they multiply with."""

    def __init__(self, module: fx.GraphModule, units: GatedUnits, device: torch.device) -> None:
        self._module, self._units, self._device = module, units, device
        self._by_name = {node.name: node for node in module.graph.nodes}
        self._indices: dict[bytes, str] = {}
        self._spreads: dict[tuple[object, ...], fx.Node] = {}
        # What stands for an operand at a reader that sums over several of its axes.
        self._latest: dict[tuple[str, str], fx.Node] = {}

    def run(self) -> None:
        graph = self._module.graph
        first = next(node for node in graph.nodes if node.op != "placeholder")
        with graph.inserting_before(first):
            self._factors = graph.create_node("get_attr", _FACTORS)
        self._first = first
        for gate in self._units.gates:
            self._insert(gate)
        self._module.recompile()

    def _insert(self, gate: Gate) -> None:
        graph, operand = self._module.graph, self._by_name[gate.operand]
        factor = self._spread(gate)
        shared: fx.Node | None = None
        for name in gate.readers:
            reader = self._by_name[name]
            before = self._latest.get((gate.operand, name))
            if before is not None and operand not in reader.all_input_nodes:
                with graph.inserting_before(reader):
                    product = graph.call_function(_multiply, (before, factor))
                replace_operand(reader, before, product)
            else:
                if shared is None:
                    with graph.inserting_before(reader):
                        shared = graph.call_function(_multiply, (operand, factor))
                product = shared
                replace_operand(reader, operand, product)
            self._latest[gate.operand, name] = product

    def _spread(self, gate: Gate) -> fx.Node:
        """Return the node of what a gate multiplies with."""
        shape = [1] * gate.rank
        shape[gate.axis] = -1
        tail = shape[1:] if gate.repeats else shape
        names = [self._attribute(index) for index in gate.units]
        key = (*names, gate.repeats, *tail)
        if key not in self._spreads:
            graph = self._module.graph
            with graph.inserting_before(self._first):
                indices = [graph.create_node("get_attr", name) for name in names]
                arguments = (self._factors, indices, gate.repeats, tail)
                self._spreads[key] = graph.call_function(_spread, arguments)
        return self._spreads[key]

    def _attribute(self, index: object) -> str:
        tensor = torch.as_tensor(index, device=self._device)
        content = tensor.cpu().numpy().tobytes()
        if content not in self._indices:
            name = f"_gate_{len(self._indices)}"
            setattr(self._module, name, tensor)
            self._indices[content] = name
        return self._indices[content]
