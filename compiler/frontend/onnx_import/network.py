"""The ONNX graph as a torch module, ready to be captured."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

import compressc.frontend.onnx_import.operators as operator_files
from compressc.error_text import quote_error
from compressc.errors import CaptureError, CompresscError
from compressc.frontend.onnx_import.call import Call, Results, Value
from compressc.frontend.onnx_import.graph import Graph, GraphNode, walk
from compressc.frontend.onnx_import.keeping import Keeper
from compressc.frontend.onnx_import.known import Known
from compressc.frontend.onnx_import.names import attach, is_trained, name_constants
from compressc.frontend.onnx_import.registry import OPERATORS
from compressc.frontend.onnx_import.shape_arithmetic import compute_known

# May replace what a node computed.
Watch = Callable[[GraphNode, Sequence[Value]], Sequence[Value]]


def load_operators() -> None:
    """Import every file of operators; each registers its functions in the table."""
    for module in pkgutil.iter_modules(operator_files.__path__):
        importlib.import_module(f"{operator_files.__name__}.{module.name}")


class OnnxNode(nn.Module):
    """One node of the graph: gives what it computes its name."""

    def forward(self, function: Callable[[Call], Results], call: Call) -> Results:
        """Compute the node."""
        return function(call)


class OnnxNetwork(nn.Module):
    """Computes an ONNX graph node by node with operations of torch.

    Args:
        graph: folded; its constants become parameters and buffers.

    Raises:
        CaptureError: if an operator has no counterpart here.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        load_operators()
        self._graph = graph
        self._paths = {id(node): attach(self, node.name, OnnxNode()) for node in walk(graph)}
        self._stored = _store_constants(self, graph)
        self._constants = _known_constants(graph)
        self.keeper = Keeper()
        self.watch: Watch | None = None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the graph, in its order."""
        values: dict[str, Value] = {"": None, **self._constants}
        # Looked up each time: while it traces, torch puts stand-ins in the places of parameters.
        for name, path in self._stored.items():
            owner, _, leaf = path.rpartition(".")
            tensor = getattr(self.get_submodule(owner), leaf)
            values[name] = replace(self._constants[name], stored=tensor)
        values.update(zip(self._graph.inputs, inputs, strict=True))
        outputs = self._run(self._graph, values)
        return tuple(v.tensor() if isinstance(v, Known) else v for v in outputs)  # type: ignore[misc]

    def _run(self, graph: Graph, outer: Mapping[str, Value]) -> tuple[Value, ...]:
        values = dict(outer)
        for name, constant in graph.constants.items():
            if name not in values:
                values[name] = Known(constant.array, constant.array.dtype)
        for node in graph.nodes:
            call = Call(
                node,
                tuple(values[name] for name in node.inputs),
                lambda inner: self._run(inner, values),
            )
            results = self._compute(call)
            watched = results if self.watch is None else self.watch(node, results)
            values.update(zip(node.outputs, watched, strict=False))
        return tuple(values[name] for name in graph.outputs)

    def _compute(self, call: Call) -> tuple[Value, ...]:
        known = compute_known(call)
        if known is not None:
            return known
        module = self.get_submodule(self._paths[id(call.node)])
        # Asked before: an error that passes through a module confuses torch while it traces.
        if self.keeper.keeps(call):
            return _tupled(module(self.keeper, call))
        try:
            return _tupled(module(_convert, call))
        except CaptureError as error:
            return self.keeper.learn(call, error)


def _tupled(results: Results) -> tuple[Value, ...]:
    return results if isinstance(results, tuple) else (results,)


def _convert(call: Call) -> Results:
    """Compute a node by the function of its operator.

    Raises:
        CaptureError: if there is none, or it cannot.
    """
    function = OPERATORS.get(call.node.operator)
    if function is None:
        raise CaptureError(
            f"{call.node} has no counterpart in PyTorch that is known here; hand over the PyTorch "
            "model, or cut the file before it (onnx.utils.extract_model)"
        )
    try:
        return function(call)
    except CompresscError:
        raise
    except Exception as error:
        raise CaptureError(
            f"{call.node} cannot be converted ({quote_error(error)}); check the file in ONNX "
            "Runtime, or hand over the PyTorch model"
        ) from error


def _store_constants(module: nn.Module, graph: Graph) -> dict[str, str]:
    """Register what the graph reads as parameters and buffers; return their paths by name."""
    paths = name_constants(graph)
    stored: dict[str, str] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.inputs):
            constant = graph.constants.get(name)
            if constant is None or name in stored:
                continue
            array = constant.array
            if array.size > 1 and array.dtype.kind in "fiub":
                tensor = torch.from_numpy(np.ascontiguousarray(array).copy())
                if is_trained(constant, node, index):
                    tensor = nn.Parameter(tensor)
                stored[name] = attach(module, paths[name], tensor)
    return stored


def _known_constants(graph: Graph) -> dict[str, Known]:
    read = {*graph.outputs, *_read_inside(graph)}
    return {
        name: Known(constant.array, constant.array.dtype)
        for name, constant in graph.constants.items()
        if name in read
    }


def _read_inside(graph: Graph) -> list[str]:
    """Return what graphs inside nodes read."""
    return [name for node in walk(graph) for name in (*node.inputs, *_inner_outputs(node))]


def _inner_outputs(node: GraphNode) -> list[str]:
    return [n for v in node.attributes.values() if isinstance(v, Graph) for n in v.outputs]
