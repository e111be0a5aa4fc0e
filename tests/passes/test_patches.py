import pytest
import torch
from torch import nn

import compressc
from compressc.passes.reconstruction.patches import (
    LAYERS,
    Grid,
    read_geometry,
    rows_of_output,
    unfold_input,
)


def layer_node(module: nn.Module, x: torch.Tensor):
    graph = compressc.capture(module, (x,)).graph_module.graph
    return next(node for node in graph.nodes if node.target in LAYERS)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 4, bias=False), (3, 6)),
        (nn.Linear(6, 4, bias=False), (3, 5, 6)),
        (nn.Conv1d(6, 4, 3, padding=1, bias=False), (3, 6, 9)),
        (nn.Conv2d(6, 4, (3, 2), stride=(2, 1), padding=(0, 1), bias=False), (3, 6, 9, 8)),
        (nn.Conv2d(6, 4, 3, dilation=2, groups=2, bias=False), (3, 6, 9, 8)),
        (nn.Conv2d(6, 12, 3, padding="same", groups=6, bias=False), (3, 6, 9, 8)),
        (nn.Conv2d(6, 4, 4, padding="same", bias=False), (3, 6, 9, 8)),
        (nn.Conv3d(2, 4, 2, stride=2, bias=False), (3, 2, 4, 6, 4)),
    ],
)
@pytest.mark.parametrize("grid", [Grid(), Grid(2, 1)])
def test_a_layer_is_a_matrix_product_of_its_patches(module, shape, grid):
    torch.manual_seed(0)
    x = torch.randn(*shape)
    geometry = read_geometry(layer_node(module, x), module.weight)
    patches = unfold_input(x, geometry, grid)
    matrix = module.weight.reshape(geometry.conv_groups, -1, patches.shape[2])
    expected = rows_of_output(module(x), geometry, grid)
    torch.testing.assert_close(patches @ matrix.mT, expected)


def test_a_grid_takes_every_second_position():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    module = nn.Conv2d(1, 1, 1, bias=False)
    geometry = read_geometry(layer_node(module, x.repeat(2, 1, 1, 1)), module.weight)
    assert unfold_input(x, geometry, Grid(2, 1)).flatten().tolist() == [5, 7, 13, 15]
