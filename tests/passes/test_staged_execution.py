import torch
import torch.nn.functional as F
from torch import nn

import compressc
from compressc.passes.reconstruction.patches import LAYERS
from compressc.passes.reconstruction.staged_execution import (
    StagedExecution,
    order_nodes,
    peak_values_per_sample,
)


class Net(nn.Module):
    """The shortcut is computed after the branch, as many models write it."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc, self.inplace = nn.Linear(4, 2), inplace

    def forward(self, x):
        x = F.relu(self.a(x), self.inplace)
        branch = self.b(x)
        x = F.relu(branch + F.pad(x[:, 1:-1], (0, 0, 0, 0, 1, 1)), self.inplace)
        return self.fc(x.mean((2, 3)))


def graph_of(module: nn.Module):
    return compressc.capture(module.eval(), (torch.randn(2, 3, 6, 6),)).graph_module


def is_layer(node) -> bool:
    return node.target in LAYERS


def test_all_batches_come_out_as_from_the_module():
    for inplace in (False, True):
        module = Net(inplace)
        graph = graph_of(module)
        order = order_nodes(graph.graph, is_layer)
        output = graph.graph.output_node().all_input_nodes[0]
        batches = [(torch.randn(count, 3, 6, 6),) for count in (2, 5)]
        run = StagedExecution(graph, order, batches, [output])
        while run.upcoming is not None:
            run.advance()
        for (x,), found in zip(batches, run.values(output), strict=True):
            torch.testing.assert_close(found, module(x))


def test_values_are_dropped_when_nothing_reads_them():
    graph = graph_of(Net())
    run = StagedExecution(graph, order_nodes(graph.graph, is_layer), [(torch.randn(2, 3, 6, 6),)])
    most = 0
    while run.upcoming is not None:
        run.advance()
        most = max(most, len(run._values))
    assert most <= 4
    assert not run._values


def test_weights_changed_on_the_way_are_seen_behind():
    module = Net()
    graph = graph_of(module)
    order = order_nodes(graph.graph, is_layer)
    output = graph.graph.output_node().all_input_nodes[0]
    x = torch.randn(2, 3, 6, 6)
    run = StagedExecution(graph, order, [(x,)], [output])
    while run.upcoming.target is not torch.ops.aten.linear.default:
        run.advance()
    with torch.no_grad():
        graph.get_parameter("fc.weight").zero_()
        graph.get_parameter("fc.bias").fill_(7)
    while run.upcoming is not None:
        run.advance()
    assert (run.values(output)[0] == 7).all()


def test_the_shortcut_is_ready_before_the_last_layer_of_the_branch():
    graph = graph_of(Net()).graph
    order = order_nodes(graph, is_layer)
    names = [node.name for node in order]
    assert sorted(names) == sorted(node.name for node in graph.nodes)
    assert names.index("pad") < names.index("conv2d_1")
    for node in order:
        assert all(names.index(s.name) < names.index(node.name) for s in node.all_input_nodes)
    inplace = graph_of(Net(inplace=True)).graph
    assert order_nodes(inplace, is_layer) == list(inplace.nodes)


def test_the_peak_counts_what_is_alive_at_once():
    chain = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 3))
    program = compressc.capture(chain, (torch.randn(2, 10),))
    assert peak_values_per_sample(list(program.graph_module.graph.nodes)) == 200
