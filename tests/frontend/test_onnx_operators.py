"""Every operator computes what ONNX Runtime computes; every operator has a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from compressc.errors import CaptureError
from compressc.frontend.onnx_import.folding import fold_constants
from compressc.frontend.onnx_import.graph import read_graph
from compressc.frontend.onnx_import.linear_layers import LINEAR
from compressc.frontend.onnx_import.network import OnnxNetwork, load_operators
from compressc.frontend.onnx_import.reading import check_model, versions_of
from compressc.frontend.onnx_import.registry import OPERATORS
from tests.onnx_kit import model_of, run

load_operators()

IMAGE = (2, 4, 6, 6)
POSITIVE = frozenset({"Log", "Sqrt", "Acosh", "Pow"})
UNIT = frozenset({"Acos", "Asin", "Atanh"})
UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Celu Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid "
    "HardSwish IsNaN LeakyRelu Log Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin "
    "Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu IsInf Identity Dropout"
).split()
BINARY = (
    "Add Sub Mul Div Pow Greater Less GreaterOrEqual LessOrEqual Equal Min Max Sum Mean".split()
)
REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare"
).split()


@dataclass(frozen=True, eq=False)
class Case:
    """One node: arrays that are inputs, arrays that are constants (by place), attributes."""

    operator: str
    inputs: tuple[Any, ...] = ()
    constants: dict[int, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 18
    outputs: int = 1
    domain: str = ""

    def __str__(self) -> str:
        given = ",".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{self.operator}-{self.opset}-{given}"[:70]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def case(operator: str, *inputs: Any, constants: Any = None, opset: int = 18, **more: Any) -> Case:
    outputs, domain = more.pop("outputs", 1), more.pop("domain", "")
    return Case(operator, inputs, constants or {}, more, opset, outputs, domain)


def _input_of(operator: str) -> np.ndarray:
    x = noise(*IMAGE)
    if operator in UNIT:
        return np.tanh(x) * 0.9
    return np.abs(x) + 1.1 if operator in POSITIVE else x


def _pairs() -> list[Case]:
    cases = []
    for name in BINARY:
        left, right = np.abs(noise(*IMAGE)) + 0.5, np.abs(noise(1, 4, 1, 1, seed=1)) + 0.5
        cases.append(case(name, left, right))
        # A constant on either side; one number need not be a tensor.
        cases.append(case(name, left, constants={1: np.array(0.5, np.float32)}))
        cases.append(case(name, left, constants={0: np.array([0.5], np.float32)}))
        cases.append(case(name, left, constants={0: right}))
    return cases


def _pooling() -> list[Case]:
    x = noise(2, 4, 7, 7)
    cases = []
    for name in ("MaxPool", "AveragePool"):
        for attributes in (
            {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
            {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
            {"kernel_shape": [3, 2], "pads": [0, 0, 1, 1]},
            {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
            {"kernel_shape": [2, 2], "auto_pad": "VALID"},
        ):
            cases += [case(name, x, **attributes)]
    include = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    cases.append(case("AveragePool", x, **include))
    cases.append(case("AveragePool", x, **{**include, "pads": [0, 1, 1, 0]}))
    cases.append(case("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 2]))
    cases.append(case("LpPool", x, kernel_shape=[2, 2], p=2))
    cases += [case("GlobalAveragePool", x), case("GlobalMaxPool", x)]
    cases.append(case("MaxPool", noise(2, 3, 9), kernel_shape=[3], pads=[1, 1]))
    return cases


def _convolutions() -> list[Case]:
    x, weight, bias = noise(2, 4, 7, 7), noise(6, 4, 3, 3, seed=1), noise(6, seed=2)
    grouped, transposed = noise(8, 1, 3, 3, seed=3), noise(4, 3, 3, 3, seed=4)
    cases = [
        case("Conv", x, constants={1: weight, 2: bias}, **attributes)
        for attributes in (
            {},
            {"pads": [1, 1, 1, 1], "strides": [2, 2]},
            {"pads": [0, 1, 2, 1]},
            {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
            {"auto_pad": "VALID"},
        )
    ]
    cases.append(case("Conv", x, constants={1: grouped}, group=4))
    cases.append(case("Conv", noise(2, 4, 9), constants={1: noise(6, 4, 3)}, pads=[1, 1]))
    cases.append(case("Conv", noise(1, 2, 4, 4, 4), constants={1: noise(3, 2, 2, 2, 2)}))
    cases += [
        case("ConvTranspose", x, constants={1: transposed}, **attributes)
        for attributes in (
            {},
            {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
            {"strides": [2, 2], "pads": [0, 1, 1, 0]},
            {"strides": [2, 2], "output_shape": [14, 14]},
            {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        )
    ]
    cases.append(case("ConvTranspose", x, constants={1: noise(4, 2, 3, 3)}, group=2))
    return cases


def _normalizations() -> list[Case]:
    x, channel = noise(*IMAGE), [noise(4, seed=n) for n in range(4)]
    statistics = {1: channel[0], 2: channel[1], 3: channel[2], 4: np.abs(channel[3]) + 0.5}
    return [
        case("BatchNormalization", x, constants=statistics, epsilon=1e-3),
        case("BatchNormalization", x, constants=statistics, opset=9),
        case("InstanceNormalization", x, constants={1: channel[0], 2: channel[1]}, epsilon=1e-2),
        case("LayerNormalization", x, constants={1: noise(6), 2: noise(6, seed=1)}, epsilon=1e-2),
        case("LayerNormalization", x, constants={1: noise(6, 6)}, axis=2),
        case(
            "GroupNormalization",
            x,
            constants={1: noise(4), 2: noise(4, seed=1)},
            num_groups=2,
            opset=21,
        ),
        case("LRN", x, size=3, alpha=0.1, beta=0.6, bias=1.5),
        case("LpNormalization", x, axis=1, p=2),
        case("LpNormalization", x, axis=-1, p=1),
        case("MeanVarianceNormalization", x),
        case("SimplifiedLayerNormalization", x, constants={1: noise(6)}, epsilon=1e-2),
        case("RMSNormalization", x, constants={1: noise(6)}, epsilon=1e-2, opset=23),
    ]


def _moves() -> list[Case]:
    x = noise(*IMAGE)
    return [
        case("Reshape", x, constants={1: ints(0, -1, 3)}),
        case("Reshape", x, constants={1: ints(2, 2, 0, -1)}),
        case("Flatten", x),
        case("Flatten", x, axis=0),
        case("Flatten", x, axis=3),
        case("Flatten", x, axis=-1),
        case("Transpose", x, perm=[0, 2, 3, 1]),
        case("Transpose", noise(3, 5)),
        case("Squeeze", noise(2, 1, 3, 1), constants={1: ints(1)}),
        case("Squeeze", noise(2, 1, 3, 1), axes=[-1], opset=11),
        case("Squeeze", noise(2, 1, 3, 1)),
        case("Unsqueeze", x, constants={1: ints(0, -1)}),
        case("Unsqueeze", x, axes=[1], opset=11),
        case("Expand", noise(2, 1, 3), constants={1: ints(4, 1, 5, 1)}),
        case("Tile", noise(2, 3), constants={1: ints(2, 2)}),
        case("Concat", x, noise(*IMAGE, seed=1), axis=1),
        case("Split", x, constants={1: ints(1, 3)}, axis=1, outputs=2),
        case("Split", x, axis=1, outputs=2, opset=11),
        case("Split", x, axis=1, outputs=2, num_outputs=2),
        case("DepthToSpace", x, blocksize=2),
        case("DepthToSpace", x, blocksize=2, mode="CRD"),
        case("SpaceToDepth", x, blocksize=2),
        case("Pad", x, constants={1: ints(0, 0, 1, 2, 0, 1, 0, 3)}),
        case("Pad", x, constants={1: ints(0, 0, 1, 2, 0, 0, 0, 3), 2: np.array(2.0, np.float32)}),
        case("Pad", x, constants={1: ints(0, 0, 1, 2, 0, 0, 2, 1)}, mode="reflect"),
        case("Pad", x, constants={1: ints(0, 0, 1, 2, 0, 0, 2, 1)}, mode="edge"),
        case("Pad", x, constants={1: ints(0, 0, -1, 0, 0, 0, -1, 0)}),
        case("Pad", noise(2, 9), constants={1: ints(0, 3, 0, 2)}, mode="reflect"),
        case("Pad", noise(2, 9, 1), constants={1: ints(0, 3, 0, 0, 2, 0)}, mode="reflect"),
        case("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="constant", value=1.5, opset=9),
    ]


def _choices() -> list[Case]:
    x = noise(*IMAGE)
    picks = np.array([[0, 2], [1, -1]], dtype=np.int64)
    table = noise(7, 5)
    return [
        case("Gather", x, constants={1: ints(2, 0)}, axis=1),
        case("Gather", x, constants={1: np.array(-1, np.int64)}, axis=1),
        case("Gather", x, constants={1: picks}, axis=2),
        case("Gather", np.array([[1, 5], [0, 6]]), constants={0: table}),
        case("GatherElements", x, np.zeros((2, 2, 6, 6), np.int64) + 1, axis=1),
        case("GatherND", noise(3, 4), np.array([[0, 1], [2, -1]])),
        case("ScatterND", noise(4, 3), np.array([[1], [3]]), noise(2, 3, seed=1)),
        case("ScatterND", noise(4, 3), np.array([[1], [1]]), noise(2, 3), reduction="add"),
        case("ScatterElements", noise(3, 3), np.array([[1, 0]]), noise(1, 2, seed=1), axis=0),
        case("ScatterElements", noise(3, 3), np.array([[1, 0]]), noise(1, 2), reduction="add"),
        case("Scatter", noise(3, 3), np.array([[1, 0]]), noise(1, 2, seed=1), opset=9),
        case("Slice", x, constants={1: ints(1, 0), 2: ints(3, -1), 3: ints(1, 3)}),
        case("Slice", x, constants={1: ints(0), 2: ints(2**63 - 1), 3: ints(2), 4: ints(2)}),
        case("Slice", x, constants={1: ints(-1), 2: ints(-(2**63)), 3: ints(3), 4: ints(-1)}),
        case("Slice", x, constants={1: ints(4), 2: ints(0), 3: ints(3), 4: ints(-2)}),
        case("Slice", x, starts=[1], ends=[3], axes=[1], opset=9),
        case("TopK", x, constants={1: ints(3)}, axis=-1, outputs=2),
        case("TopK", x, constants={1: ints(2)}, axis=1, largest=0, outputs=2),
        case("CumSum", x, constants={1: np.array(1, np.int64)}),
        case("CumSum", x, constants={1: np.array(2, np.int64)}, exclusive=1, reverse=1),
        case("Trilu", noise(2, 5, 5), constants={1: np.array(1, np.int64)}),
        case("Trilu", noise(2, 5, 5), upper=0),
        case(
            "OneHot",
            np.array([1, 3, -1]),
            constants={1: np.array(4, np.int64), 2: np.array([0.5, 2.0], np.float32)},
        ),
        case("Where", x > 0, x, constants={2: np.array(0.5, np.float32)}),
        case("Where", x > 0, x, noise(*IMAGE, seed=1)),
    ]


def _resizing() -> list[Case]:
    x = noise(1, 2, 5, 6)
    empty = np.zeros(0, np.float32)
    factors = [np.array([1, 1, *f], np.float32) for f in ((2, 2), (1.5, 2.5), (0.5, 0.5))]
    cases = [case("Upsample", x, constants={1: factors[0]}, mode=m, opset=9) for m in ("nearest",)]
    cases.append(case("Resize", x, constants={1: factors[0]}, mode="nearest", opset=10))
    for mode in ("nearest", "linear"):
        for place in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
            more = {"mode": mode, "coordinate_transformation_mode": place}
            cases += [case("Resize", x, constants={1: empty, 2: f}, **more) for f in factors]
            sizes = {1: empty, 2: empty, 3: ints(1, 2, 9, 4)}
            cases.append(
                case("Resize", x, constants=sizes, mode=mode, coordinate_transformation_mode=place)
            )
    for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
        constants = {1: empty, 2: factors[1]}
        cases.append(case("Resize", x, constants=constants, mode="nearest", nearest_mode=rounding))
    grid = np.clip(noise(1, 4, 4, 2), -1, 1)
    cases.append(case("GridSample", x, grid, mode="bilinear", opset=16))
    cases.append(case("GridSample", x, grid, mode="nearest", align_corners=1, opset=16))
    return cases


def _recurrent() -> list[Case]:
    x, cases = noise(5, 2, 3), []
    for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for both in (False, True):
            count = 2 if both else 1
            weights = {
                1: noise(count, gates * 4, 3) * 0.4,
                2: noise(count, gates * 4, 4, seed=1) * 0.4,
                3: noise(count, gates * 8, seed=2) * 0.4,
            }
            more = {"linear_before_reset": 1} if name == "GRU" else {}
            direction = "bidirectional" if both else "forward"
            outputs = 3 if name == "LSTM" else 2
            cases.append(
                case(
                    name,
                    x,
                    constants=weights,
                    hidden_size=4,
                    direction=direction,
                    outputs=outputs,
                    opset=14,
                    **more,
                )
            )
    return cases


CASES = [
    *(case(name, _input_of(name)) for name in UNARY),
    *_pairs(),
    *_pooling(),
    *_convolutions(),
    *_normalizations(),
    *_moves(),
    *_choices(),
    *_resizing(),
    *_recurrent(),
    *(case(n, np.abs(noise(*IMAGE)) + 0.1, constants={1: ints(1, -1)}) for n in REDUCTIONS[:-1]),
    *(
        case(n, np.abs(noise(*IMAGE)) + 0.1, keepdims=0, axes=[1], opset=11)
        for n in REDUCTIONS[:-2]
    ),
    case("ReduceSum", noise(*IMAGE), axes=[0, 2], opset=11),
    case("ReduceSum", noise(*IMAGE), noop_with_empty_axes=1),
    case("ReduceSumSquare", noise(*IMAGE)),
    *(
        case(n, noise(*IMAGE), axis=a)
        for n in ("Softmax", "LogSoftmax", "Hardmax")
        for a in (1, -1)
    ),
    *(case(n, noise(*IMAGE), opset=11) for n in ("Softmax", "LogSoftmax")),
    case("ArgMax", noise(*IMAGE), axis=1, keepdims=0),
    case("ArgMin", noise(*IMAGE), axis=2),
    case("MatMul", noise(2, 3, 4), noise(2, 4, 5)),
    case("MatMul", noise(2, 3, 4), constants={1: noise(4, 5)}),
    case("Gemm", noise(3, 4), noise(4, 5), noise(5), alpha=0.5, beta=2.0),
    case("Gemm", noise(3, 4), constants={1: noise(5, 4), 2: noise(5)}, transB=1),
    case("Gemm", noise(4, 3), constants={1: noise(4, 5)}, transA=1),
    case("Gemm", noise(3, 4), constants={1: noise(4, 5), 2: noise(1, 5)}),
    case("Einsum", noise(2, 3, 4), noise(2, 4, 5), equation="bij, bjk -> bik"),
    case("Clip", noise(*IMAGE), constants={1: np.array(-0.5, np.float32)}),
    case("Clip", noise(*IMAGE) * 9, constants={1: np.float32(0), 2: np.float32(6)}),
    case("Clip", noise(*IMAGE), min=-0.2, max=0.3, opset=6 + 1),
    case("Clip", noise(*IMAGE), constants={1: np.float32(0)}),
    case("PRelu", noise(*IMAGE), constants={1: noise(4, 1, 1)}),
    case("PRelu", noise(*IMAGE), constants={1: noise(1)}),
    case("PRelu", noise(*IMAGE), constants={1: noise(4, 6, 6)}),
    case("HardSigmoid", noise(*IMAGE), alpha=1 / 6, beta=0.5),
    case("IsInf", np.array([1.0, np.inf, -np.inf], np.float32), detect_negative=0, opset=20),
    case("Gelu", noise(*IMAGE), opset=20),
    case("Gelu", noise(*IMAGE), approximate="tanh", opset=20),
    case("Gelu", noise(*IMAGE), domain="com.microsoft"),
    case("Swish", noise(*IMAGE), alpha=1.0, opset=24),
    case("Mod", ints(7, -7, 5), ints(3, 3, -3)),
    case("Mod", noise(9), noise(9, seed=1), fmod=1),
    case("Div", ints(7, -7, 5), ints(2, 2, -2)),
    case("Pow", noise(*IMAGE), constants={1: np.array(2, np.int64)}),
    case("Cast", noise(*IMAGE) * 3, to=TensorProto.INT64),
    case("CastLike", ints(1, 2), noise(1)),
    case("Not", noise(4) > 0),
    *(case(n, noise(4) > 0, noise(4, seed=1) > 0) for n in ("And", "Or", "Xor")),
    *(case(f"Bitwise{n}", ints(5, 3), ints(6, 2)) for n in ("And", "Or", "Xor")),
    case("BitwiseNot", ints(5, 3)),
    case("EyeLike", noise(3, 4)),
]


def model_from(entry: Case) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """Return the model of a case and what it is fed."""
    places = len(entry.inputs) + len(entry.constants)
    fed = iter(entry.inputs)
    names, inputs, constants, arrays = [], {}, [], []
    for place in range(places + 3):
        if place in entry.constants:
            names.append(f"k{place}")
            array = np.asarray(entry.constants[place])
            constants.append(numpy_helper.from_array(array, names[-1]))
        else:
            array = next(fed, None)
            names.append("" if array is None else f"x{place}")
            if array is not None:
                inputs[names[-1]] = array
                arrays.append(np.asarray(array))
    while not names[-1]:
        names.pop()
    outputs = [f"y{index}" for index in range(entry.outputs)]
    node = helper.make_node(
        entry.operator, names, outputs, "node", domain=entry.domain, **entry.attributes
    )
    types = {n: helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype) for n, a in inputs.items()}
    shapes = {name: list(np.asarray(array).shape) for name, array in inputs.items()}
    domains = {entry.domain: 1} if entry.domain else {}
    model = model_of(
        [node], shapes, outputs, constants, opset=entry.opset, domains=domains, types=types
    )
    model.ir_version = 10 if entry.opset < 23 else 12
    for value in model.graph.output:
        value.ClearField("type")
    return model, arrays


def network_of(model: onnx.ModelProto) -> OnnxNetwork:
    return OnnxNetwork(fold_constants(read_graph(model.graph, versions_of(model)))).eval()


@pytest.mark.parametrize("entry", CASES, ids=str)
def test_operator(entry: Case) -> None:
    model, arrays = model_from(entry)
    network = network_of(model)
    with torch.no_grad():
        results = network(*(torch.from_numpy(array) for array in arrays))
    assert not network.keeper.operators, "the node was kept instead of converted"
    truth = run(model, *arrays)
    assert len(results) == len(truth)
    for result, expected in zip(results, truth, strict=True):
        assert result.numpy().dtype == expected.dtype
        np.testing.assert_allclose(result.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_every_operator_has_a_case() -> None:
    elsewhere = {LINEAR, "If", "Constant", "ConstantOfShape", "Range", "NonZero"}
    elsewhere |= {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    elsewhere |= {"Bernoulli", "Multinomial"}
    named = {f"{c.domain}:{c.operator}" if c.domain else c.operator for c in CASES}
    assert set(OPERATORS) - named - elsewhere == set()


def test_what_cannot_be_converted_says_so() -> None:
    node = helper.make_node("NonZero", ["x"], ["y"], "positions")
    model = check_model(model_of([node], {"x": [3, 3]}, ["y"], types={"y": TensorProto.INT64}))
    network = network_of(model)
    network.keeper.learning = False
    with pytest.raises(CaptureError, match=r"node 'positions' \(NonZero\)"):
        network(torch.ones(3, 3))
