"""What nobody can see leaves the graph; what somebody can see stays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressc.frontend.tracing import capture


class TwoHeads(nn.Module):
    """The first head is computed, with in-place operations, and thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.unused = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        self.unused(x).mean((2, 3))
        return self.head(x.mean((2, 3)))


class Seen(nn.Module):
    """Every write is seen through another name of the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x[:, :4].relu_()
        x.mul_(2.0)
        return x + 1


def operations(module: nn.Module) -> list[str]:
    program = capture(module.eval(), (torch.randn(2, 3, 8, 8),))
    nodes = program.graph_module.graph.nodes
    return [str(node.target) for node in nodes if node.op == "call_function"]


def test_an_unused_head_leaves_with_its_in_place_operations() -> None:
    found = operations(TwoHeads())
    assert found.count("aten.conv2d.default") == 1
    assert not any("relu" in name for name in found)


def test_writes_that_are_seen_stay() -> None:
    module = Seen().eval()
    x = torch.randn(2, 3, 8, 8)
    program = capture(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
    assert "aten.relu_.default" in operations(module)
