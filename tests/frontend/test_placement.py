"""Models that lie on a GPU: copied to the CPU with a note, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import compressc
from compressc.errors import HandOverError
from compressc.frontend import placement
from compressc.frontend.placement import move_inputs_to_cpu
from compressc.frontend.tracing import program_from_exported


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module], nn.Module]:
    """A function that makes a module's tensors, but not their copies, say that they are on CUDA."""
    known: list[Tensor] = []

    def device_of(tensor: Tensor) -> torch.device:
        there = any(tensor is one for one in known)
        return torch.device("cuda", 0) if there else tensor.device

    def place(module: nn.Module) -> nn.Module:
        known.extend([*module.parameters(), *module.buffers()])
        return module

    monkeypatch.setattr(placement, "_device_of", device_of)
    return place


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


def test_a_model_on_a_gpu_is_copied_with_a_note(on_gpu: Callable[[nn.Module], nn.Module]) -> None:
    module, x = on_gpu(network().eval()), torch.randn(2, 3, 8, 8)
    tensors = [*module.parameters(), *module.buffers()]
    program = compressc.capture(module, (x,))
    (note,) = program.history[-1].notes
    assert note == (
        "the model was on cuda:0; a copy on the CPU was compressed, and the original is unchanged"
    )
    assert all(
        a is b for a, b in zip([*module.parameters(), *module.buffers()], tensors, strict=True)
    )
    torch.testing.assert_close(program.graph_module(x), module(x))


def test_a_model_on_the_cpu_is_neither_copied_nor_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> object:
        raise AssertionError("copied")

    monkeypatch.setattr(placement.copy, "deepcopy", never)
    module = network()
    assert placement.copy_to_cpu(module) == (module, "")


def test_a_model_that_cannot_be_copied_is_refused_in_one_line(
    on_gpu: Callable[[nn.Module], nn.Module],
) -> None:
    class Stubborn(nn.Sequential):
        def __deepcopy__(self, memo: object) -> object:
            raise RuntimeError("CUDA error:\ndevice-side assert")

    module = on_gpu(Stubborn(nn.Linear(4, 4)))
    with pytest.raises(HandOverError, match=r"on cuda:0 and cannot be copied.*model\.cpu\(\)") as e:
        compressc.capture(module, (torch.randn(2, 4),))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_without_data_are_refused_in_one_line(whole: bool) -> None:
    module = network()
    (module if whole else module[3]).to("meta")
    with pytest.raises(HandOverError, match=r"weight '\d.weight' has no data \(meta device\)") as e:
        compressc.capture(module, (torch.randn(2, 3, 8, 8),))
    assert "\n" not in str(e.value)


def test_example_inputs_without_data_are_refused_in_one_line() -> None:
    with pytest.raises(HandOverError, match=r"example input has no data \(meta device\)"):
        compressc.capture(network(), (torch.randn(2, 3, 8, 8, device="meta"),))


def test_inputs_in_containers_keep_their_form() -> None:
    x = torch.ones(2)
    assert move_inputs_to_cpu(([x], {"a": x, "n": 3}, None)) == ([x], {"a": x, "n": 3}, None)


def test_an_exported_program_on_a_gpu_is_moved_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, x = network().eval(), torch.randn(2, 3, 8, 8)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(module, (x,), dynamic_shapes=shapes)
    assert program_from_exported(exported).history == ()
    monkeypatch.setattr(placement, "_device_of", lambda _: torch.device("cuda", 0))
    program = program_from_exported(exported)
    assert program.history[-1].notes[0].startswith("the exported program was on cuda:0")
    torch.testing.assert_close(program.graph_module(x), module(x))
