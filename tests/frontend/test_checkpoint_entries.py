"""Checkpoints as people have them: masks, averages, several networks, wrappers, losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import compressc
from compressc.errors import HandOverError
from compressc.frontend import architecture
from compressc.frontend.state_fit import align_names

X = torch.randn(2, 3, 8, 8)


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Save content, load it as the architecture above."""
    monkeypatch.setattr(architecture, "_import_factory", lambda _: build)

    def save_and_load(content: Any, **options: Any) -> compressc.Program:
        torch.save(content, tmp_path / "c.pt")
        return compressc.load(
            tmp_path / "c.pt", arch="nets:build", input_shape=(3, 8, 8), **options
        )

    return save_and_load


def notes(program: compressc.Program) -> str:
    return " ".join(note for line in program.history for note in line.notes)


def same(program: compressc.Program, model: nn.Module) -> bool:
    with torch.no_grad():
        return torch.allclose(program.module()(X), model(X), atol=1e-6)


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def test_masks_of_pruning_are_multiplied(model: nn.Module, load: Any) -> None:
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    prune.random_structured(model[2], "weight", amount=0.5, dim=0)
    program = load(model.state_dict())
    assert same(program, model)
    assert int((program.state()["0.weight"] == 0).sum()) == 108
    assert "applied to 2 tensors" in notes(program)


def test_a_mask_of_another_shape_is_refused(model: nn.Module, load: Any) -> None:
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    state = {**model.state_dict(), "0.weight_mask": torch.ones(2)}
    with pytest.raises(HandOverError, match=r"the mask of '0.weight' has \[2\]"):
        load(state)


def test_an_average_beside_the_weights_is_named_and_can_be_chosen(model: nn.Module, load) -> None:
    other = build().eval()
    content = {"state_dict": model.state_dict(), "state_dict_ema": other.state_dict(), "epoch": 3}
    first = load(content)
    assert same(first, model)
    assert "--key state_dict_ema" in notes(first)
    assert same(load(content, key="state_dict_ema"), other)
    with pytest.raises(HandOverError, match=r"--key best: holds no weights .*state_dict_ema"):
        load(content, key="best")


def test_networks_of_a_gan_are_chosen_by_name(model: nn.Module, load: Any) -> None:
    content = {"generator": model.state_dict(), "discriminator": build().state_dict()}
    with pytest.raises(HandOverError, match=r"generator, discriminator.*--key generator"):
        load(content)
    assert same(load(content, key="generator"), model)
    alone = load({"generator": model.state_dict(), "optimizer_g": {"state": {}}})
    assert same(alone, model)
    assert "'generator'" in notes(alone)
    assert same(load({"nets": {"g": model.state_dict()}}, key="nets.g"), model)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "_forward_module.", "ema_model.", "online_model.module.", "a.b.net."],
)
def test_any_prefix_of_a_wrapper_is_dropped(model: nn.Module, load: Any, prefix: str) -> None:
    assert same(load(prefixed(prefix, model.state_dict())), model)


def test_what_lightning_stores_beside_the_network_is_left_out(model: nn.Module, load) -> None:
    content = {
        "pytorch-lightning_version": "2.5",
        "state_dict": {
            **prefixed("model.", model.state_dict()),
            "loss_fn.weight": torch.ones(4),
            "val_acc.confmat": torch.zeros(4, 4),
        },
        "hyper_parameters": {"lr": 0.1},
    }
    program = load(content)
    assert same(program, model)
    assert "left out: loss_fn.weight, val_acc.confmat" in notes(program)


def test_the_weights_are_preferred_to_their_average(model: nn.Module) -> None:
    teacher = prefixed("ema_model.", build().state_dict())
    aligned = align_names({**teacher, **prefixed("online_model.", model.state_dict())}, model)
    assert all(torch.equal(aligned.state[k], v) for k, v in model.state_dict().items())
    assert "'ema_model.'" in " ".join(aligned.notes)


def test_an_unexpected_tensor_without_a_prefix_is_still_an_error(model: nn.Module, load) -> None:
    with pytest.raises(HandOverError, match=r"unexpected: extra\.weight"):
        load({**model.state_dict(), "extra.weight": torch.ones(3)})


def test_a_missing_tensor_under_a_prefix_is_still_an_error(model: nn.Module, load: Any) -> None:
    state = prefixed("model.", model.state_dict())
    del state["model.2.bias"]
    with pytest.raises(HandOverError, match=r"missing: 2\.bias"):
        load(state)
