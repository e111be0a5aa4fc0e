"""The dependency graph as networkx sees it: what people who know graphs can ask it."""

from __future__ import annotations

import json

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

from compressc.coupling.dependency_graph import GROUP
from compressc.coupling.graph import cost_of, couple
from compressc.errors import OutputError
from compressc.frontend.tracing import capture
from compressc.models.registry import build
from compressc.program import Program
from compressc.reporting.graph_file import write_graph


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 6, 1)
        self.last = nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = x + self.last(torch.relu(self.inner(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Residual().eval(), (torch.randn(2, 3, 8, 8),))


@pytest.fixture(scope="module")
def graph(program: Program) -> nx.MultiDiGraph:
    return couple(program).graph


def layers_at(graph: nx.MultiDiGraph, group: str, role: str) -> set[str]:
    edges = graph.in_edges if role == "out" else graph.out_edges
    ends = [source if role == "out" else target for source, target in edges(GROUP + group)]
    return {graph.nodes[end].get("layer", end) for end in ends}


def test_it_is_built_once(program: Program, graph: nx.MultiDiGraph) -> None:
    assert couple(program).graph is graph


def test_layers_carry_what_they_cost(program: Program, graph: nx.MultiDiGraph) -> None:
    rows = {a["layer"]: a for _, a in graph.nodes(data=True) if a["kind"] == "layer"}
    assert set(rows) == {"first", "inner", "last", "head"}
    assert (rows["inner"]["in_channels"], rows["inner"]["out_channels"]) == (8, 6)
    assert rows["first"]["macs"] == 3 * 8 * 9 * 64
    assert rows["first"]["shape"] == "2x8x8x8"
    assert sum(row["macs"] for row in rows.values()) == graph.graph["macs"] == cost_of(program).macs


def test_a_sum_couples_what_it_adds(graph: nx.MultiDiGraph) -> None:
    stream = next(n for n in graph if n.startswith(GROUP) and graph.nodes[n]["units"] == 8)
    name = stream.removeprefix(GROUP)
    assert layers_at(graph, name, "out") == {"first", "last"}
    assert layers_at(graph, name, "in") == {"inner", "head"}
    assert layers_at(graph, "inner", "out") == {"inner"}
    assert layers_at(graph, "inner", "in") == {"last"}
    edge = next(a for s, t, a in graph.edges(data=True) if t == GROUP + "inner")
    assert edge["kind"] == "coupling"
    assert edge["tensor"].startswith("inner.")
    assert edge["slices"] == 6


def test_data_flows_from_the_input_to_the_output(graph: nx.MultiDiGraph) -> None:
    flow = nx.subgraph_view(graph, filter_edge=lambda s, t, k: graph[s][t][k]["kind"] == "data")
    assert nx.is_directed_acyclic_graph(flow)
    ends = {a["kind"]: n for n, a in graph.nodes(data=True) if a["kind"] in ("input", "output")}
    assert nx.has_path(flow, ends["input"], ends["output"])
    values = [n for n in graph if not n.startswith(GROUP)]
    # Whatever leaves the network passes the sum: it dominates the output.
    dominators = nx.immediate_dominators(flow.subgraph(values), ends["input"])
    chain, place = [], ends["output"]
    while place != ends["input"]:
        place = dominators[place]
        chain.append(graph.nodes[place]["operation"])
    assert "aten.add" in chain


def test_pins_say_why(program: Program) -> None:
    pinned = [a["pinned"] for _, a in couple(program).graph.nodes(data=True) if "pinned" in a]
    assert any("output" in reason for reason in pinned)


def test_a_tied_weight_leads_to_every_layer_that_reads_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)))

    graph = couple(capture(Tied().eval(), (torch.randn(2, 4),))).graph
    reading = {t for s, t, a in graph.edges(data=True) if a["kind"] == "coupling"}
    reading |= {s for s, t, a in graph.edges(data=True) if a["kind"] == "coupling"}
    assert len([n for n in reading if graph.nodes[n]["kind"] == "layer"]) == 2


def test_the_sum_of_a_block_names_it(graph: nx.MultiDiGraph) -> None:
    ((total, block),) = nx.get_node_attributes(graph, "block").items()
    assert block == "inner..last"
    row = graph.nodes[total]
    assert row["operation"] == "aten.add"
    assert row["block_entry"] == row["block_skip"]
    assert graph.has_edge(row["block_skip"], total)


def test_files_are_read_back_by_networkx(program: Program, tmp_path) -> None:
    graph = couple(program).graph
    write_graph(tmp_path / "deps.graphml", graph)
    again = nx.read_graphml(tmp_path / "deps.graphml", force_multigraph=True)
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert again.number_of_edges() == graph.number_of_edges()
    write_graph(tmp_path / "deps.json", graph)
    document = json.loads((tmp_path / "deps.json").read_text())
    again = nx.node_link_graph(document, edges="edges")
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert again.graph == graph.graph
    with pytest.raises(OutputError, match=r"written as .graphml, .json or .svg"):
        write_graph(tmp_path / "deps.dot", graph)


@pytest.mark.parametrize("name", ["lenet5", "digits_resnet", "se_resnet20"])
def test_every_group_of_our_networks_has_its_layers(name: str) -> None:
    shapes = {"lenet5": (1, 28, 28), "digits_resnet": (1, 8, 8), "se_resnet20": (3, 32, 32)}
    program = capture(build(name).eval(), (torch.randn(2, *shapes[name]),))
    coupling = couple(program)
    for group in coupling.groups:
        node = GROUP + group.name
        assert coupling.graph.nodes[node]["units"] == group.size
        assert coupling.graph.degree(node) > 0
