"""Inputs made from a network alone: they show its batch norms what these remember."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import compressc
from compressc.clock import ignore_progress
from compressc.datasets.synthetic.input_values import draw_input, read_input_kinds
from compressc.datasets.synthetic.making import SyntheticSettings, make_inputs
from compressc.datasets.synthetic.matching import Matching
from compressc.datasets.synthetic.norm_memory import read_norm_memory
from compressc.datasets.synthetic.waves import draw_waves
from compressc.errors import DataError
from compressc.pipeline import sample_cache
from compressc.pipeline.sample_cache import find_or_make_inputs

FEW = SyntheticSettings(samples=24, judged=8, drawn=30, matching=Matching(steps=40))


class Net(nn.Module):
    """Two batch norms behind convolutions, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.n, self.m, self.fc = nn.BatchNorm2d(6), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.n(self.a(x)))
        return self.fc(torch.relu(self.m(self.b(x))).mean((2, 3)))


def trained(seed: int = 0) -> compressc.Program:
    """Return a network whose batch norms saw data of a mean and deviation of their own."""
    torch.manual_seed(seed)
    net = Net()
    for _ in range(60):
        net(draw_waves((32, 3, 8, 8), (2, 3), torch.default_generator) * 0.4 + 0.7)
    return compressc.capture(net.eval(), (torch.randn(2, 3, 8, 8),))


def distance_of(program, inputs) -> float:
    memory = read_norm_memory(program)
    shown, _outputs = memory.module(*inputs)
    return float(memory.distance(shown))


def test_batch_norms_see_what_they_remember():
    program = trained()
    made = make_inputs(program, FEW, 0, ignore_progress)
    noise = draw_waves((24, 3, 8, 8), (2, 3), torch.Generator().manual_seed(0))
    assert distance_of(program, made.repairing) < 0.1 * distance_of(program, (noise,))
    assert distance_of(program, made.judging) < 0.3 * distance_of(program, (noise,))


def test_pictures_come_with_their_mirror_images_and_uses_share_none():
    made = make_inputs(trained(), FEW, 0, ignore_progress)
    (x,), (y,) = made.repairing, made.judging
    assert len(x) == 48
    assert len(y) == 16
    assert torch.equal(x[:24].flip(3), x[24:])
    assert not any(torch.equal(one, other) for one in x for other in y)


def test_same_seed_same_inputs_and_another_seed_others():
    program = trained()
    one, same, other = (make_inputs(program, FEW, seed, ignore_progress) for seed in (1, 1, 2))
    assert torch.equal(one.repairing[0], same.repairing[0])
    assert not torch.equal(one.repairing[0], other.repairing[0])


def test_the_program_stays_as_it_is():
    program = trained()
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    code = program.graph_module.code
    make_inputs(program, FEW, 0, ignore_progress)
    assert program.graph_module.code == code
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())
    assert all(p.requires_grad for p in program.graph_module.parameters())


def test_fresh_batch_norms_teach_nothing_and_the_note_says_so():
    program = compressc.capture(Net().eval(), (torch.randn(2, 3, 8, 8),))
    made = make_inputs(program, FEW, 0, ignore_progress)
    assert "all 2 batch norms are fresh" in made.notes[0]
    assert "trained weights?" in made.notes[0]


def test_a_network_without_batch_norm_gets_waves():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    made = make_inputs(compressc.capture(net, (torch.randn(2, 3, 8, 8),)), FEW, 0, ignore_progress)
    assert "no batch norm" in made.notes[0]
    assert made.repairing[0].shape == (30, 3, 8, 8)


def test_waves_fall_with_the_frequency():
    waves = draw_waves((64, 1, 32, 32), (2, 3), torch.Generator().manual_seed(0))
    assert float(waves.mean()) == pytest.approx(0, abs=1e-5)
    assert float(waves.std()) == pytest.approx(1, abs=1e-5)
    spectrum = torch.fft.fft2(waves).abs().mean((0, 1))
    # An amplitude of 1/f: eight times the frequency, an eighth of the amplitude.
    assert float(spectrum[0, 2] / spectrum[0, 16]) == pytest.approx(8, rel=0.3)


class Sentences(nn.Module):
    """Tokens through one table of 11 rows and positions through another of 5."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 4), nn.Embedding(5, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, tokens, places, mask):
        x = self.words(tokens) + self.places(places.view(-1, 6))
        return self.fc((x * mask.unsqueeze(-1)).mean(1))


def test_integers_are_drawn_from_what_embeddings_admit():
    example = (torch.zeros(2, 6, dtype=torch.long), torch.ones(2, 6, dtype=torch.long))
    program = compressc.capture(Sentences().eval(), (*example, torch.ones(2, 6)))
    kinds = read_input_kinds(program)
    assert [kind.admitted for kind in kinds] == [11, 5, 0]
    made = make_inputs(program, FEW, 0, ignore_progress)
    tokens, places, mask = made.repairing
    assert tokens.dtype == torch.long
    assert set(tokens.flatten().tolist()) == set(range(11))
    assert set(places.flatten().tolist()) == set(range(5))
    assert len(tokens) == len(places) == len(mask) == 30


def test_integers_that_nothing_explains_are_those_of_the_example():
    class Net(nn.Module):
        def forward(self, x, kind):
            return x * kind

    example = torch.tensor([[3], [7]])
    program = compressc.capture(Net().eval(), (torch.randn(2, 4), example))
    kind = read_input_kinds(program)[1]
    drawn = draw_input(kind, example, 20, torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {3, 7}


def test_a_network_bound_to_a_batch_gets_batches_of_it():
    net = Net().train()
    net(torch.randn(8, 3, 8, 8) * 2 + 1)
    program = compressc.capture(net.eval(), (torch.randn(4, 3, 8, 8),), dynamic_shapes=None)
    made = make_inputs(program, replace(FEW, samples=10, judged=2), 0, ignore_progress)
    assert len(made.repairing[0]) + len(made.judging[0]) == 2 * 12


def test_time_is_bounded():
    steps = []
    hurried = SyntheticSettings(samples=8, judged=8, seconds=1e-3, matching=Matching(steps=5000))
    made = make_inputs(trained(), hurried, 0, lambda done, total, text: steps.append((done, text)))
    assert len(steps) < 20
    assert len(made.repairing[0]) == 2 * 12


def test_memory_is_bounded_by_batches():
    texts = []
    small = replace(FEW, memory_bytes=4 * 2 * 8000 * 10)
    made = make_inputs(trained(), small, 0, lambda done, total, text: texts.append(text))
    assert any(text.startswith("batch 2 of ") for text in texts)
    assert len(made.repairing[0]) == 48


@pytest.mark.filterwarnings("ignore")
def test_activations_that_are_no_numbers_are_one_clear_line():
    program = trained()
    state = {name: tensor.clone() for name, tensor in program.state().items()}
    weight = next(name for name in state if name.startswith("fc") and "weight" in name)
    state[weight] = state[weight] * float("1e38") * 1e3
    state[weight][0] = -state[weight][0]
    broken = program.with_state(state)
    with pytest.raises(DataError, match="not finite; give --data DIR"):
        make_inputs(broken, FEW, 0, ignore_progress)


def test_what_an_earlier_run_made_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_cache, "_WORTH_SAVING_SECONDS", 0.0)
    program = trained()
    first = find_or_make_inputs(program, FEW, 0, ignore_progress, tmp_path)

    def fail(*_arguments):
        raise AssertionError("this was made already")

    again = find_or_make_inputs(program, FEW, 0, fail, tmp_path)
    assert torch.equal(first.repairing[0], again.repairing[0])
    assert first.notes == again.notes
    (file,) = tmp_path.rglob("samples-*.state")
    file.write_bytes(b"torn")
    anew = find_or_make_inputs(program, FEW, 0, ignore_progress, tmp_path)
    assert torch.equal(first.judging[0], anew.judging[0])
