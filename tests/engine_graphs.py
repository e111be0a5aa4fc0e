"""Random ONNX graphs for the sparse engine: what it must compute as ONNX Runtime does."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18


@dataclass
class GraphMaker:
    """Grows a graph of images, then of vectors, one operation at a time."""

    rng: random.Random
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    positive: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.arrays = np.random.default_rng(self.rng.randrange(2**32))

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, *shape: int) -> str:
        array = self.arrays.standard_normal(shape).astype(np.float32)
        array *= (2 / max(1, array[0].size)) ** 0.5
        kept = self.rng.choice([1.0, 0.5, 0.1, 0.03, 0.0])
        array[self.arrays.random(shape) >= kept] = 0
        if self.rng.random() < 0.2:
            array[:: self.rng.choice([2, 3])] = 0
        return self.constant(array)

    def add(self, kind: str, inputs: list[str], sizes: tuple[int, ...], **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"n{name}", **attributes))
        self.sizes[name] = sizes
        return name

    def window(self, value: str, dilations: list[int]) -> tuple[tuple[int, ...], dict] | None:
        """Return output rows and columns, and the attributes of a window that fits."""
        height, width = self.sizes[value][1:]
        kernel = [self.rng.choice([1, 1, 2, 3, 3, 5]) for _ in "yx"]
        stride = [self.rng.choice([1, 1, 2, 3])] * 2
        dilation = [self.rng.choice(dilations) for _ in "yx"]
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        pads = [self.rng.randint(0, reach[axis % 2]) for axis in range(4)]
        out = tuple(
            (size + pads[axis] + pads[axis + 2] - reach[axis] - 1) // stride[axis] + 1
            for axis, size in enumerate((height, width))
        )
        if (
            min(out) < 1
            or height + pads[0] + pads[2] <= reach[0]
            or width + pads[1] + pads[3] <= reach[1]
        ):
            return None
        return out, {"strides": stride, "dilations": dilation, "pads": pads, "kernel": kernel}

    def convolution(self, value: str) -> str:
        fitting = self.window(value, [1, 1, 1, 2])
        if fitting is None:
            return value
        out, window = fitting
        channels = self.sizes[value][0]
        groups = self.rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
        outputs = (
            groups * self.rng.choice([1, 2, 3, 5, 8]) if groups > 1 else self.rng.randint(1, 24)
        )
        kernel = window.pop("kernel")
        inputs = [value, self.weight(outputs, channels // groups, *kernel)]
        if self.rng.random() < 0.7:
            inputs.append(self.constant(self.arrays.standard_normal(outputs).astype(np.float32)))
        return self.add("Conv", inputs, (outputs, *out), group=groups, **window)

    def pool(self, value: str) -> str:
        fitting = self.window(value, [1])
        if fitting is None:
            return value
        out, window = fitting
        del window["dilations"]
        kernel = window.pop("kernel")
        shape = (self.sizes[value][0], *out)
        if self.rng.random() < 0.5:
            if value not in self.positive and any(window["pads"]):
                return value
            name = self.add("MaxPool", [value], shape, kernel_shape=kernel, **window)
        else:
            name = self.add(
                "AveragePool", [value], shape, kernel_shape=kernel, count_include_pad=1, **window
            )
        if value in self.positive:
            self.positive.add(name)
        return name

    def activation(self, value: str) -> str:
        kind = self.rng.choice(["Relu", "Relu", "Clip", "SiLU", "HardSwish", "Sigmoid"])
        sizes = self.sizes[value]
        if kind == "SiLU":
            gate = self.add("Sigmoid", [value], sizes)
            return self.add("Mul", [value, gate], sizes)
        if kind == "Clip":
            bounds = [self.constant(np.float32(b)) for b in (0.0, 6.0)]
            name = self.add("Clip", [value, *bounds], sizes)
        else:
            name = self.add(kind, [value], sizes)
        if kind in ("Relu", "Clip", "Sigmoid"):
            self.positive.add(name)
        return name

    def join(self, value: str) -> str:
        """Add to, or concatenate with, an earlier value of the same size."""
        sizes = self.sizes[value]
        same = [n for n, s in self.sizes.items() if s == sizes and n != value]
        alike = [n for n, s in self.sizes.items() if s[1:] == sizes[1:]]
        if same and self.rng.random() < 0.7:
            return self.add("Add", [value, self.rng.choice(same)], sizes)
        other = self.rng.choice(alike)
        return self.add(
            "Concat", [value, other], (sizes[0] + self.sizes[other][0], *sizes[1:]), axis=1
        )

    def head(self, value: str) -> str:
        """Leave images: average or flatten, then one or two linear layers."""
        channels = self.sizes[value][0]
        if self.rng.random() < 0.5:
            value = self.add("GlobalAveragePool", [value], (channels, 1, 1))
        value = self.add("Flatten", [value], (int(np.prod(self.sizes[value])),), axis=1)
        for _ in range(self.rng.randint(1, 2)):
            outputs = self.rng.randint(1, 40)
            inputs = [value, self.weight(outputs, self.sizes[value][0])]
            if self.rng.random() < 0.7:
                inputs.append(
                    self.constant(self.arrays.standard_normal(outputs).astype(np.float32))
                )
            value = self.add("Gemm", inputs, (outputs,), transB=1)
            if self.rng.random() < 0.5:
                value = self.activation(value)
        return value


def make_graph(seed: int) -> onnx.ModelProto:
    """Return a random model of one input ``x`` and one or two outputs."""
    rng = random.Random(seed)
    maker = GraphMaker(rng)
    size = rng.choice([(1, 1), (5, 7), (7, 7), (8, 8), (14, 14), (16, 16), (28, 28), (32, 32)])
    channels = rng.randint(1, 9)
    maker.sizes["x"] = (channels, *size)
    value = maker.convolution("x")
    for _ in range(rng.randint(1, 9)):
        step = rng.choice(["conv", "conv", "act", "act", "pool", "join"])
        value = {
            "conv": maker.convolution,
            "act": maker.activation,
            "pool": maker.pool,
            "join": maker.join,
        }[step](value)
    if value == "x":
        value = maker.add("Conv", ["x", maker.weight(4, channels, 1, 1)], (4, *size))
    inner = value
    outputs = [maker.head(value) if rng.random() < 0.6 else value]
    if rng.random() < 0.3 and inner not in outputs:
        outputs.append(inner)
    used, kept = set(outputs), []
    for node in reversed(maker.nodes):
        if node.output[0] in used:
            kept.append(node)
            used.update(node.input)
    graph = helper.make_graph(
        kept[::-1],
        "random",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", channels, *size])],
        [
            helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", *maker.sizes[n]])
            for n in outputs
        ],
        [tensor for tensor in maker.weights if tensor.name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
