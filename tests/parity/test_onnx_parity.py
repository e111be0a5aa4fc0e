"""Parity: honest rounding passes, small faults fail, whatever the output's scale."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compressc.errors import VerificationError
from compressc.parity import onnx_parity
from compressc.parity.onnx_parity import compare

BATCH = ({0: "batch"},)


class Net(nn.Module):
    """Deep enough for rounding to add up; a large constant hides the variation of the output."""

    def __init__(self, depth=12, offset=50.0):
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleList(
            nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1) for i in range(depth)
        )
        self.fc = nn.Linear(16, 7)
        self.offset = offset

    def forward(self, x):
        for index, conv in enumerate(self.convs):
            y = torch.relu(conv(x))
            x = y if index == 0 else x + y
        return self.fc(x.mean((2, 3))) + self.offset


def to_onnx(module, args, dynamic=True):
    shapes = tuple({0: torch.export.Dim("batch")} if dynamic else None for _ in args)
    program = torch.onnx.export(
        module.eval(),
        args,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=shapes if dynamic else None,
    )
    return program.model_proto


@pytest.fixture(scope="module")
def net():
    return Net().eval()


@pytest.fixture(scope="module")
def example():
    return (torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1)),)


@pytest.fixture(scope="module")
def model(net, example):
    return to_onnx(net, example)


def changed(model, name, edit):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    edit(array)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return copy


def with_last_step(model, operator, constant):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    output = copy.graph.output[0].name
    last = next(node for node in copy.graph.node if output in node.output)
    last.output[0] = "before"
    copy.graph.initializer.append(numpy_helper.from_array(np.float32(constant), "constant"))
    copy.graph.node.append(helper.make_node(operator, ["before", "constant"], [output]))
    return copy


def test_an_honest_model_passes_with_room(net, model, example):
    parity = compare(net, model, example, batches=(1, 2, 5), dynamic_axes=BATCH)
    assert parity.passed
    assert parity.batches == (1, 2, 5)
    (output,) = parity.outputs
    assert output.severity < 0.7
    assert output.informative
    assert parity.tolerance < 1e-3 * output.variation


@pytest.mark.parametrize("layer", ["convs.0", "convs.6", "convs.11", "fc"])
def test_one_weight_off_by_one_percent_fails(net, model, example, layer):
    def edit(array):
        flat = array.reshape(-1)
        flat[np.abs(flat).argmax()] *= 1.01

    parity = compare(net, changed(model, f"{layer}.weight", edit), example, dynamic_axes=BATCH)
    assert not parity.passed
    assert parity.max_error > parity.tolerance


def test_an_output_scaled_or_shifted_by_little_fails(net, model, example):
    for operator, constant in (("Mul", 1.001), ("Mul", 1.00001), ("Add", 1e-3)):
        faulty = with_last_step(model, operator, constant)
        assert not compare(net, faulty, example, dynamic_axes=BATCH).passed


def test_a_fault_in_one_element_of_many_fails():
    module, example = nn.Conv2d(3, 4, 3, padding=1), (torch.randn(2, 3, 24, 24),)
    model = to_onnx(module, example)
    assert compare(module, model, example, dynamic_axes=BATCH).passed
    off = np.zeros((1, 4, 24, 24), np.float32)
    off[0, 1, 5, 5] = 1e-3
    assert not compare(
        module, with_last_step(model, "Add", off), example, dynamic_axes=BATCH
    ).passed


def test_the_module_is_left_as_it_was(net, model, example):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    compare(net, model, example, dynamic_axes=BATCH)
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert after["fc.weight"].dtype == torch.float32


def test_bytes_and_paths_are_accepted(net, model, example, tmp_path):
    onnx.save(model, tmp_path / "m.onnx")
    first = compare(net, model.SerializeToString(), example, dynamic_axes=BATCH)
    assert first == compare(net, tmp_path / "m.onnx", example, dynamic_axes=BATCH)


def test_a_static_batch_keeps_the_example_size(net, example):
    static = to_onnx(net, example, dynamic=False)
    parity = compare(net, static, example, dynamic_axes=({},))
    assert parity.passed
    assert parity.batches == (2,)
    assert parity.outputs[0].variation > 0
    assert not compare(net, with_last_step(static, "Mul", 1.001), example).passed


def test_a_plain_callable_is_judged_without_float64(net, model, example):
    assert compare(lambda x: net(x), model, example, dynamic_axes=BATCH).passed
    faulty = with_last_step(model, "Mul", 1.001)
    assert not compare(lambda x: net(x), faulty, example, dynamic_axes=BATCH).passed


class Casting(nn.Module):
    """Names float32 itself, which must not spoil the float64 run."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 8)
        self.fc = nn.Linear(8, 3)

    def forward(self, index, scale):
        x = self.table(index).mean(1).to(torch.float32)
        y = self.fc(x) * scale + torch.ones(3, dtype=torch.float32)
        return {"scores": y, "best": y.argmax(1), "constant": torch.full((2,), 0.5)}


def test_indices_casts_and_several_outputs():
    torch.manual_seed(0)
    module = Casting().eval()
    example = (torch.tensor([[0, 5, 2], [3, 3, 4]]), torch.rand(2, 1))
    model = to_onnx(module, example)
    axes = ({0: "batch"}, {0: "batch"})
    parity = compare(module, model, example, batches=(1, 4, 9), dynamic_axes=axes)
    assert parity.passed
    scores, best, constant = parity.outputs
    # Only a float64 run of the casts makes the tolerance as tight as this.
    assert 0 < scores.rms_tolerance < 2e-6
    assert best.max_error == 0
    assert not constant.informative

    def mislead(array):
        array[:] = 0
        array[0] = 10 if best_class != 0 else -10

    best_class = int(module(*example)["best"][0])
    faulty = changed(model, "fc.bias", mislead)
    parity = compare(module, faulty, example, dynamic_axes=axes)
    assert [output.passed for output in parity.outputs] == [False, False, True]


def test_nan_and_wrong_shapes_fail(net, model, example):
    def poison(array):
        array[0] = np.nan

    assert not compare(net, changed(model, "fc.bias", poison), example, dynamic_axes=BATCH).passed
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    output = wide.graph.output[0]
    wide.graph.node.append(helper.make_node("Concat", [output.name] * 2, ["twice"], axis=1))
    wide.graph.output.remove(output)
    wide.graph.output.append(helper.make_tensor_value_info("twice", TensorProto.FLOAT, None))
    parity = compare(net, wide, example, dynamic_axes=BATCH)
    assert not parity.passed
    assert parity.max_error == float("inf")


def test_what_does_not_run_is_one_line(net, model, example):
    with pytest.raises(VerificationError, match="cannot be compared") as caught:
        compare(net, b"not a model", example)
    assert "\n" not in str(caught.value)
    extra = onnx.ModelProto()
    extra.CopyFrom(model)
    extra.graph.output.append(extra.graph.output[0])
    extra.graph.output[1].name = extra.graph.node[0].output[0]
    with pytest.raises(VerificationError, match="1 tensors but the ONNX model 2"):
        compare(net, extra, example, dynamic_axes=BATCH)


def _two_classes(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(300, 64), nn.ReLU(), nn.Linear(64, 2), nn.Softmax(1)
    )
    return net.eval(), torch.randn(2, 300)


def test_few_numbers_do_not_condemn_an_honest_model(monkeypatch):
    # Of one sample with two classes, torch happens to round by almost nothing now and then.
    net, example = _two_classes(0)
    model = to_onnx(net, (example,))

    def verdicts(seeds):
        return {
            seed: compare(net, model, (example,), batches=(1,), dynamic_axes=BATCH, seed=seed)
            for seed in seeds
        }

    monkeypatch.setattr(onnx_parity, "_MORE_BATCHES", 0)
    # As if nothing but the noise that was sampled were allowed.
    monkeypatch.setattr(onnx_parity, "_ULPS", 0.0)
    unlucky = [seed for seed, parity in verdicts(range(60)).items() if not parity.passed]
    assert unlucky
    monkeypatch.setattr(onnx_parity, "_MORE_BATCHES", 4)
    assert all(parity.passed for parity in verdicts(unlucky).values())
    # More samples do not make a wrong weight right.
    with torch.no_grad():
        net[1].weight[3] *= 1.01
    assert not any(parity.passed for parity in verdicts(unlucky).values())
