"""ONNX export: names, dynamic axes, metadata, odd graphs, and files written whole or not at all."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.errors import ExportError, OutputError
from compressc.frontend.tracing import capture
from compressc.program import Program


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + x)


class Net(nn.Module):
    """Residual blocks, a zero-padded shortcut, a shuffle by index, pooling and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.register_buffer("order", torch.randperm(12))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.layer1(self.stem(x))
        x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)).index_select(1, self.order)
        return self.fc(torch.flatten(self.pool(x), 1))


def randomize(model):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def make_program(model, args, outputs=("output",), dynamic=True):
    names = tuple(f"input_{i}" if i else "input" for i in range(len(args)))
    dim = torch.export.Dim("batch", min=1, max=65535)
    batch = args[0].shape[0]
    axes = tuple({0: "batch"} if dynamic and x.shape[:1] == (batch,) else {} for x in args)
    shapes = tuple({0: dim} if named else None for named in axes)
    exported = torch.export.export(randomize(model), args, dynamic_shapes=(shapes))
    return Program(
        graph_module=exported.module(check_guards=False),
        example_inputs=args,
        dynamic_axes=axes,
        input_names=names,
        output_names=outputs,
    )


def make_session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model, *args):
    session = make_session(model)
    feeds = {i.name: a.numpy() for i, a in zip(session.get_inputs(), args, strict=True)}
    return session.run(None, feeds)


@pytest.fixture(scope="module")
def program():
    return make_program(Net(), (torch.randn(2, 3, 16, 16),))


@pytest.fixture(scope="module")
def exported(program):
    return export_onnx(program, metadata={"compressc.plan": "abc"})


def test_nodes_are_called_after_layers(exported):
    names = [node.name for node in exported.graph.node]
    assert len(set(names)) == len(names)
    assert {"stem/Conv", "layer1.0.conv1/Conv", "layer1.1.conv2/Conv", "fc/Gemm"} <= set(names)
    assert {"layer1.0/Relu", "layer1.0/Relu_1", "layer1.0/Add"} <= set(names)
    conv = next(node for node in exported.graph.node if node.name == "layer1.0.conv1/Conv")
    assert {p.key: p.value for p in conv.metadata_props} == {"namespace": "layer1/0/conv1"}


def test_initializers_keep_parameter_names(exported):
    names = {tensor.name for tensor in exported.graph.initializer}
    assert {"stem.weight", "layer1.0.conv1.weight", "layer1.1.conv2.weight", "fc.weight"} <= names
    # A batch norm folded into a convolution leaves it a bias.
    assert {"fc.bias", "stem.bias", "layer1.0.conv1.bias"} <= names


def test_inputs_outputs_and_batch_axis_are_readable(exported):
    (x,), (y,) = exported.graph.input, exported.graph.output
    assert (x.name, y.name) == ("input", "output")
    assert x.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert y.type.tensor_type.shape.dim[0].dim_param == "batch"
    symbols = {
        dim.dim_param
        for info in exported.graph.value_info
        for dim in info.type.tensor_type.shape.dim
        if dim.dim_param
    }
    assert symbols <= {"batch"}


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_outputs_equal_torch_on_every_batch(program, exported, batch):
    x = torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(batch))
    expected = program.graph_module(x).detach().numpy()
    np.testing.assert_allclose(run(exported, x)[0], expected, atol=1e-5)


def test_producer_and_metadata(exported):
    assert exported.producer_name == "compressc"
    assert exported.producer_version
    assert {p.key: p.value for p in exported.metadata_props} == {"compressc.plan": "abc"}
    # Paths of the exporting machine and pages of traces stay out of the file.
    assert b".py" not in exported.SerializeToString()


def test_no_needless_operators(exported):
    kinds = {node.op_type for node in exported.graph.node}
    assert kinds == {
        "Conv",
        "Relu",
        "Add",
        "AveragePool",
        "Pad",
        "Gather",
        "GlobalAveragePool",
        "Reshape",
        "Gemm",
    }


def test_exporting_prints_nothing(program, capfd, recwarn):
    export_onnx(program)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert not recwarn.list


def test_scopes_lost_by_a_rebuilt_graph_come_from_parameters(program):
    graph_module = torch.fx.GraphModule(program.graph_module, program.graph_module.graph)
    for node in graph_module.graph.nodes:
        node.meta.pop("nn_module_stack", None)
    bare = Program(
        graph_module,
        program.example_inputs,
        program.dynamic_axes,
        program.input_names,
        program.output_names,
    )
    names = {node.name for node in export_onnx(bare).graph.node}
    assert {"layer1.0.conv1/Conv", "fc/Gemm"} <= names


def test_compact_storage_gives_the_same_outputs(program):
    state = {name: value.clone() for name, value in program.state().items()}
    for name, value in state.items():
        if name.endswith("weight") and value.dim() > 1:
            value[torch.rand_like(value) < 0.9] = 0
    module = torch.fx.GraphModule(program.graph_module, program.graph_module.graph)
    module = torch.export.export(module, program.example_inputs).module(check_guards=False)
    module.load_state_dict(state)
    sparse = Program(module, program.example_inputs, ({},), ("input",), ("output",))
    dense, packed = export_onnx(sparse), export_onnx(sparse, storage="compact")
    assert packed.ByteSize() < 0.8 * dense.ByteSize()
    x = program.example_inputs[0]
    assert run(dense, x)[0].tobytes() == run(packed, x)[0].tobytes()


class Odd(nn.Module):
    """Several inputs, one of them unused; a nested result with a repeated and a passed value."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.attend = nn.Linear(4, 6)

    def forward(self, x, y, unused):
        tokens = self.attend(self.fc(x).unsqueeze(1).repeat(1, 3, 1))
        z = self.fc(x) * y
        return {"a": z, "b": (tokens, z), "c": x, "d": None}


def test_nested_outputs_and_unused_inputs():
    args = (torch.randn(2, 4), torch.randn(4), torch.randn(2, 9))
    odd = Odd()
    program = make_program(odd, args, outputs=("a", "tokens", "again", "same", "none"))
    model = export_onnx(program)
    assert [i.name for i in model.graph.input] == ["input", "input_1", "input_2"]
    assert [o.name for o in model.graph.output] == ["a", "tokens", "again", "same"]
    onnx.checker.check_model(model, full_check=True)
    assert "attend.weight.T" in {tensor.name for tensor in model.graph.initializer}
    x = (torch.randn(5, 4), torch.randn(4), torch.randn(5, 9))
    expected = odd(*x)
    wanted = (expected["a"], *expected["b"], expected["c"])
    for got, want in zip(run(model, *x), wanted, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), atol=1e-5)


def test_static_batch():
    program = make_program(Net(), (torch.randn(3, 3, 16, 16),), dynamic=False)
    model = export_onnx(program)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [3, 3, 16, 16]
    expected = program.graph_module(*program.example_inputs).detach().numpy()
    np.testing.assert_allclose(run(model, *program.example_inputs)[0], expected, atol=1e-5)


class Squeeze(nn.Module):
    """A mean over space without kept axes, one with, and one over other axes."""

    def forward(self, x):
        return x.mean((2, 3)) + x.mean((-1, -2), keepdim=True).flatten(1) + x.mean((1, 3))[:, :4]


def test_means_over_space_are_poolings():
    x = torch.randn(2, 4, 5, 6)
    model = export_onnx(make_program(Squeeze(), (x,)))
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("GlobalAveragePool") == 2
    assert kinds.count("ReduceMean") == 1
    np.testing.assert_allclose(run(model, x)[0], Squeeze()(x).numpy(), atol=1e-6)


class Padding(nn.Module):
    def forward(self, x):
        y = F.pad(x, (0, 0, 0, 0, 0, 0))
        return F.pad(y, (1, 0, 0, 2, 3, 0), value=1.5) + F.pad(x, (0, 1, 2, 0, 0, 3))


def test_pads_of_size_zero_and_on_channels():
    x = torch.randn(2, 4, 5, 5)
    model = export_onnx(make_program(Padding(), (x,)))
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run(model, x)[0], Padding()(x).numpy())


@pytest.mark.parametrize("opset", [20])
def test_opsets(program, opset):
    model = export_onnx(program, opset=opset)
    assert {o.domain: o.version for o in model.opset_import} == {"": opset}
    onnx.checker.check_model(model, full_check=True)


def test_wrong_arguments_and_unsupported_operations_are_one_line(program):
    with pytest.raises(ExportError, match="choose dense or compact"):
        export_onnx(program, storage="zip")
    with pytest.raises(ExportError, match="18 or newer"):
        export_onnx(program, opset=11)

    class Unsupported(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    with pytest.raises(ExportError, match="opset 18") as caught:
        export_onnx(make_program(Unsupported(), (torch.randn(2, 3, 3),)))
    assert "linalg_eig" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_written_file_is_the_model(exported, tmp_path):
    path = tmp_path / "m.onnx"
    write_onnx(exported, path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert onnx.load(path).graph.node[0].name == exported.graph.node[0].name


def test_an_invalid_model_leaves_the_old_file(exported, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    broken = onnx.ModelProto()
    broken.CopyFrom(exported)
    broken.graph.node[0].input[1] = "missing"
    with pytest.raises(ExportError, match="not valid ONNX") as caught:
        write_onnx(broken, path)
    assert "\n" not in str(caught.value)
    wrong_shape = onnx.ModelProto()
    wrong_shape.CopyFrom(exported)
    weight = next(t for t in wrong_shape.graph.initializer if t.name == "fc.weight")
    weight.CopyFrom(numpy_helper.from_array(np.zeros((5, 11), np.float32), "fc.weight"))
    with pytest.raises(ExportError, match="not valid ONNX"):
        write_onnx(wrong_shape, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_model_over_two_gigabytes_is_refused(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("compressc.backend.onnx_export.MAX_FILE_BYTES", 1000)
    with pytest.raises(ExportError, match="2 GiB"):
        write_onnx(exported, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_output_error(exported, tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_onnx(exported, tmp_path / "nowhere" / "m.onnx")


def test_pooling_of_single_pixels_behind_a_pad_loads():
    """ONNX Runtime fuses the Pad into the pooling and refuses the result."""

    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            x = torch.nn.functional.pad(self.conv(x).relu(), (1, -1, 1, -1))
            return torch.nn.functional.avg_pool2d(x, 1, 2)

    x = torch.randn(2, 3, 8, 8)
    program = capture(Shift().eval(), (x,))
    with torch.no_grad():
        wanted = program.module()(x).numpy()
    np.testing.assert_allclose(run(export_onnx(program), x)[0], wanted, rtol=1e-5, atol=1e-6)
