"""Every architecture: counts against the papers, names against foreign files, capture."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compressc.models.registry import architectures, build, weights_path

NAMES = sorted(architectures())
# Captured in CI only: smaller networks of the same families stand for them every day.
LARGE = {"densenet121", "resnet34", "resnet110", "vgg19_cifar"}

# As printed by the sources named in each family's docstring, and their rounding. Parameters "bn"
# include batch norms, "no bn" leave them out (HRank's and He's way of counting).
PUBLISHED = {
    "lenet300_100": (("bn", 266e3, 1e3), (266e3, 1e3)),
    "lenet5": (("bn", 431e3, 1e3), (2.29e6, 0.01e6)),
    "lenet5_caffe": (("bn", 431e3, 1e3), (2.29e6, 0.01e6)),
    "vgg16_cifar": (("no bn", 14.98e6, 0.01e6), (3.13e8, 0.01e8)),
    "vgg19_cifar": (("bn", 20.04e6, 0.01e6), (3.98e8, 0.01e8)),
    "resnet20": (("bn", 0.27e6, 0.01e6), (40.55e6, 0.01e6)),
    "resnet56": (("no bn", 0.85e6, 0.01e6), (125.49e6, 0.01e6)),
    "resnet110": (("no bn", 1.72e6, 0.01e6), (252.89e6, 0.01e6)),
    "resnet18": (("bn", 11.7e6, 0.1e6), (1.81e9, 0.01e9)),
    "resnet34": (("bn", 21.8e6, 0.1e6), (3.66e9, 0.01e9)),
    "resnet50": (("bn", 25.6e6, 0.1e6), (4.09e9, 0.01e9)),
    "densenet40": (("no bn", 1.04e6, 0.01e6), (282.92e6, 0.01e6)),
    "densenet121": (("bn", 7.98e6, 0.01e6), (2.83e9, 0.01e9)),
    "googlenet_cifar": (("no bn", 6.15e6, 0.01e6), (1.52e9, 0.01e9)),
    "mobilenet_v1": (("bn", 4.2e6, 0.1e6), (569e6, 1e6)),
    "mobilenet_v2": (("bn", 3.5e6, 0.1e6), (301e6, 1e6)),
    "shufflenet_v2_x1_0": (("bn", 2.3e6, 0.1e6), (145e6, 1e6)),
    # Equation 5 of the SE paper over a ResNet-20: (2 / 16) * 3 * (16^2 + 32^2 + 64^2) more.
    "se_resnet20": (("bn", 269_722 + 2_016, 1), (40.55e6, 0.01e6)),
    "alexnet_cifar": (("bn", 2.47e6, 0.01e6), None),
}

# Keys of the state dicts that other people's files have, and how many entries those have.
FOREIGN_KEYS = {
    "resnet18": (122, "layer2.0.downsample.1.running_mean"),
    "resnet34": (218, "layer3.5.conv2.weight"),
    "resnet50": (320, "layer4.2.bn3.num_batches_tracked"),
    "densenet121": (727, "features.denseblock4.denselayer16.norm2.weight"),
    "mobilenet_v2": (314, "features.17.conv.1.0.weight"),
    "shufflenet_v2_x1_0": (338, "stage3.0.branch1.2.weight"),
    "resnet20": (116, "layer3.2.bn2.running_var"),
    "resnet56": (332, "layer1.8.conv1.weight"),
}


def built_without_memory(name: str) -> nn.Module:
    with torch.device("meta"):
        return build(name).eval()


def test_registry_holds_no_shared_state():
    first = architectures()
    first.clear()
    assert architectures()
    with pytest.raises(FrozenInstanceError):
        architectures()["resnet20"].params = 0


@pytest.mark.parametrize("name", NAMES)
def test_counts_equal_the_registry(name):
    arch = architectures()[name]
    model = built_without_memory(name)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *arch.input_shape, device="meta"))
    macs = counter.get_total_flops() / 2
    params = sum(p.numel() for p in model.parameters())
    assert (params, macs) == (arch.params, arch.macs)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_registry_equals_the_paper(name):
    arch = architectures()[name]
    params = arch.params
    (counting, published_params, rounding), published_macs = PUBLISHED[name]
    if counting == "no bn":
        modules = built_without_memory(name).modules()
        norms = (m for m in modules if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
        params -= sum(p.numel() for norm in norms for p in norm.parameters())
    assert abs(params - published_params) < rounding
    if published_macs is not None:
        assert abs(arch.macs - published_macs[0]) < published_macs[1]


def test_every_published_network_is_in_the_registry():
    assert set(PUBLISHED) | {"digits_resnet"} == set(NAMES)


@pytest.mark.parametrize("name", sorted(FOREIGN_KEYS))
def test_state_dict_has_the_names_of_the_field(name):
    entries, key = FOREIGN_KEYS[name]
    state = built_without_memory(name).state_dict()
    assert len(state) == entries
    assert key in state


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in NAMES]
)
def test_exports_with_a_dynamic_batch(name):
    arch = architectures()[name]
    torch.manual_seed(0)
    model = build(name).eval()
    images = torch.randn(2, *arch.input_shape)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("b")},))
    three = torch.randn(3, *arch.input_shape)
    with torch.no_grad():
        expected = model(three)
        found = exported.module()(three)
    assert expected.shape == (3, arch.num_classes)
    assert expected.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_class_count_can_be_set_and_training_reaches_every_parameter(name):
    arch = architectures()[name]
    side = min(arch.input_shape[-1], 64)
    torch.manual_seed(0)
    model = build(name, num_classes=7).train()
    logits = model(torch.randn(2, arch.input_shape[0], side, side))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    unreached = [n for n, p in model.named_parameters() if p.grad is None]
    assert unreached == []


def test_an_option_a_shortcut_pads_a_quarter_on_each_side():
    block = build("resnet20").layer2[0]
    x = torch.randn(2, 16, 8, 8)
    shortcut = block.shortcut(x)
    assert shortcut.shape == (2, 32, 4, 4)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert shortcut[:, :8].abs().sum() == 0
    assert shortcut[:, 24:].abs().sum() == 0


def test_the_caffe_lenet_is_linear_between_convolution_and_pooling():
    torch.manual_seed(0)
    caffe = build("lenet5_caffe").eval()
    relu = build("lenet5").eval()
    relu.load_state_dict(caffe.state_dict())
    x = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert not torch.allclose(caffe(x), relu(x), rtol=1e-3, atol=1e-3)


def test_an_unknown_name_or_argument_is_one_clear_line():
    with pytest.raises(ValueError, match=r"unknown architecture 'resnet21'; known are .*resnet20"):
        build("resnet21")
    with pytest.raises(ValueError, match=r"'resnet20' cannot be built so: .*colour"):
        build("resnet20", colour="red")


def test_weights_path_is_none_where_nothing_ships():
    assert weights_path("resnet110") is None
    assert weights_path("no such network") is None
