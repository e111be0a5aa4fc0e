import numpy as np
import torch
from torch import nn

import compressc
from compressc.passes.reconstruction import layers
from compressc.passes.reconstruction.layers import cut_batches, find_layers
from compressc.passes.reconstruction.staged_execution import order_nodes
from compressc.plan import Plan


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.c = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 3, 1)
        self.up = nn.ConvTranspose2d(3, 3, 2)

    def forward(self, x):
        y = self.b(torch.relu(self.norm(self.a(x))))
        return self.up(torch.relu(y + self.c(x)))


def layers_of(module: nn.Module):
    program = compressc.capture(module.eval(), (torch.randn(2, 3, 8, 8),))
    program = program.with_plan(Plan(keep={"a": np.arange(6) < 4}))
    nodes = program.graph_module.graph
    order = order_nodes(nodes, lambda node: node.target in layers.LAYERS)
    return {one.weight: one for one in find_layers(program, [n.name for n in order]).values()}


def test_what_surrounds_a_layer_is_found():
    found = layers_of(Residual())
    assert set(found) == {"a.weight", "b.weight", "c.weight"}  # transposed ones are left alone
    assert found["a.weight"].norm.mean == "norm.running_mean"
    assert found["a.weight"].outputs.tolist() == [True] * 4 + [False] * 2
    assert found["b.weight"].inputs.tolist() == [True] * 4 + [False] * 2
    assert found["a.weight"].has_intercept


def test_only_the_last_branch_of_an_addition_aims_at_the_sum():
    found = layers_of(Residual())
    aims = {name: layer.addition for name, layer in found.items()}
    assert aims["a.weight"] is None
    assert [aims["b.weight"], aims["c.weight"]].count(None) == 1


def test_pieces_cover_every_sample_once(monkeypatch):
    layer = layers_of(Residual())["a.weight"]
    batches = [torch.zeros(5, 3, 8, 8), torch.zeros(3, 3, 8, 8)]
    monkeypatch.setattr(layers, "_CHUNK", 2 * 64 * 27)
    pieces = list(cut_batches(layer, batches, (8, 8)))
    taken = [(i, sample) for i, samples, _ in pieces for sample in range(5)[samples]]
    assert all(len(batches[i][samples]) <= 2 for i, samples, _ in pieces)
    assert [i for i, _, _ in pieces] == [0, 0, 0, 1, 1]
    assert len(set(taken)) == len(taken)
    assert all(grid.step == 1 for _, _, grid in pieces)


def test_many_positions_for_few_features_are_thinned_out_evenly(monkeypatch):
    layer = layers_of(Residual())["a.weight"]
    monkeypatch.setattr(layers, "_ROWS_PER_FEATURE", 2)
    grids = [grid for _, _, grid in cut_batches(layer, [torch.zeros(4, 3, 8, 8)] * 4, (8, 8))]
    assert {grid.step for grid in grids} == {4}
    assert [grid.start for grid in grids] == [0, 1, 2, 3]
