"""Cases of nodes that are kept from an ONNX file."""

from __future__ import annotations

from typing import Any

from onnx import helper

from compressc.kept_nodes import ONNX_NODE, KeptNode, encode_proto
from tests.graph_kit import Kit
from tests.rule_cases.catalogue import case


@case(ONNX_NODE, prunes=("b",), pins=("a",))
def keep_softsign(kit: Kit, op: Any) -> Any:
    """A node whose definition ONNX itself has."""
    proto = helper.make_node("Softsign", ["x"], ["y"])
    shape = ((0, 0, 1), 8, 6, 6)
    kept = KeptNode("Softsign", encode_proto(proto), 18, (0,), ("float32",), (shape,))
    outputs = op([kit.source("a")], kept.encode())
    return kit.read("r", outputs[0], 8), kit.read("s", kit.source("b"), 8)
