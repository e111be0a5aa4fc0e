"""Nodes of an imported ONNX file that stay as they are."""

from __future__ import annotations

from compressc.kept_nodes import ONNX_NODE, decode_node
from compressc.rules.registry import rule
from compressc.rules.site import Site, Value


@rule(ONNX_NODE)
def kept_node(site: Site) -> Value:
    """Nothing is known about it: what it reads stays whole."""
    inputs = site.arg("inputs")
    operator = decode_node(site.arg("node")).operator
    for node in inputs:
        axes = site.axes_of(node)
        site.freeze_all(axes or (), f"is {operator}, which is kept as the ONNX file has it")
    return site.plain_output()
