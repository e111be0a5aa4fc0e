"""Recurrent layers: ONNX and torch order and name gates differently."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressc.frontend.onnx_import.call import Call, Results
from compressc.frontend.onnx_import.registry import operator

# ONNX's gates in torch's order: LSTM i o f c -> i f g o, GRU z r h -> r z n.
_LSTM_ORDER = (0, 2, 3, 1)
_GRU_ORDER = (1, 0, 2)
_LSTM_GATES = 4


@operator("LSTM")
def run_lstm(call: Call) -> Results:
    """Long short-term memory."""
    if call.has(7):
        raise call.unsupported("with peepholes")
    if call.attribute("input_forget", 0):
        raise call.unsupported("with coupled gates")
    x, hidden = _started(call, 5, _LSTM_ORDER)
    cell = call.optional(6)
    cell = torch.zeros_like(hidden) if cell is None else _layers_first(call, cell)
    weights = _weights(call, _LSTM_ORDER)
    result, hidden, cell = torch.lstm(
        x, (hidden, cell), weights, True, 1, 0.0, False, _both(call), False
    )
    return _given_back(call, result), _layers_back(call, hidden), _layers_back(call, cell)


@operator("GRU")
def run_gru(call: Call) -> Results:
    """Gated recurrent units; torch knows the form that resets after the product."""
    if not call.attribute("linear_before_reset", 0):
        raise call.unsupported("that resets before the product (linear_before_reset=0)")
    x, hidden = _started(call, 5, _GRU_ORDER)
    weights = _weights(call, _GRU_ORDER)
    result, hidden = torch.gru(x, hidden, weights, True, 1, 0.0, False, _both(call), False)
    return _given_back(call, result), _layers_back(call, hidden)


@operator("RNN")
def run_rnn(call: Call) -> Results:
    """The plain recurrent layer, by the tangent or the ReLU."""
    kinds = set(call.attribute("activations", ["Tanh"]))
    if kinds not in ({"Tanh"}, {"Relu"}):
        raise call.unsupported(f"with activations {', '.join(sorted(kinds))}")
    layer = torch.rnn_tanh if kinds == {"Tanh"} else torch.rnn_relu
    x, hidden = _started(call, 5, (0,))
    result, hidden = layer(x, hidden, _weights(call, (0,)), True, 1, 0.0, False, _both(call), False)
    return _given_back(call, result), _layers_back(call, hidden)


def _both(call: Call) -> bool:
    return bool(call.attribute("direction", "forward") == "bidirectional")


def _started(call: Call, state: int, order: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the input (time, batch, channels) and the state at the start."""
    defaults = {4: ["Sigmoid", "Tanh", "Tanh"], 3: ["Sigmoid", "Tanh"], 1: ["Tanh"]}[len(order)]
    count = 2 if _both(call) else 1
    kinds = call.attribute("activations", [])
    if len(order) > 1 and kinds not in ([], defaults * count):
        raise call.unsupported(f"with activations {', '.join(kinds)}")
    if call.attribute("clip") is not None:
        raise call.unsupported("with clipped gates")
    if call.has(4):
        lengths, steps = call.known(4), call.tensor(0).shape[0]
        if lengths is None or (lengths != steps).any():
            raise call.unsupported("with a length for each sequence")
    if call.attribute("direction", "forward") == "reverse":
        raise call.unsupported("that runs backwards only")
    x = call.tensor(0)
    if call.attribute("layout", 0):
        x = x.transpose(0, 1)
    hidden = call.optional(state)
    if hidden is None:
        units = call.attribute("hidden_size")
        _check_sizes(call, x, None, count, len(order))
        return x, torch.zeros((count, x.shape[1], units), dtype=x.dtype)
    hidden = _layers_first(call, hidden)
    _check_sizes(call, x, hidden, count, len(order))
    return x, hidden


def _check_sizes(call: Call, x: Tensor, state: Tensor | None, count: int, gates: int) -> None:
    """Check what torch does not: it reads beyond the end of weights and states that do not fit."""
    units = call.attribute("hidden_size")
    fits = call.tensor(1).shape == (count, gates * units, x.shape[2])
    fits &= call.tensor(2).shape == (count, gates * units, units)
    if call.has(3):
        fits &= call.tensor(3).shape == (count, 2 * gates * units)
    cell = call.optional(6) if gates == _LSTM_GATES else None
    for initial in (state, None if cell is None else _layers_first(call, cell)):
        if initial is not None:
            fits &= initial.shape == (count, x.shape[1], units)
    if not fits:
        raise call.unsupported("whose weights or states do not fit its input")


def _layers_first(call: Call, state: Tensor) -> Tensor:
    return state.transpose(0, 1) if call.attribute("layout", 0) else state


def _layers_back(call: Call, state: Tensor) -> Tensor:
    return state.transpose(0, 1) if call.attribute("layout", 0) else state


def _weights(call: Call, order: Sequence[int]) -> list[Tensor]:
    """Return the weights of each direction: input, hidden, and both biases."""
    units = call.attribute("hidden_size")
    kernel, recurrent, bias = call.tensor(1), call.tensor(2), call.optional(3)
    weights: list[Tensor] = []
    for direction in range(2 if _both(call) else 1):
        weights.append(_ordered(kernel[direction], units, order))
        weights.append(_ordered(recurrent[direction], units, order))
        if bias is None:
            zero = torch.zeros(len(order) * units, dtype=kernel.dtype)
            weights += [zero, zero]
        else:
            half = len(order) * units
            weights.append(_ordered(bias[direction][:half], units, order))
            weights.append(_ordered(bias[direction][half:], units, order))
    return weights


def _ordered(stacked: Tensor, units: int, order: Sequence[int]) -> Tensor:
    if tuple(order) == tuple(range(len(order))):
        return stacked
    return torch.cat([stacked[gate * units : (gate + 1) * units] for gate in order])


def _given_back(call: Call, result: Tensor) -> Tensor:
    """Return what torch gives as (time, batch, directions x units), in ONNX's layout."""
    count = 2 if _both(call) else 1
    units = call.attribute("hidden_size")
    split = result.reshape(result.shape[0], result.shape[1], count, units)
    if call.attribute("layout", 0):
        return split.permute(1, 0, 2, 3)
    return split.permute(0, 2, 1, 3)
