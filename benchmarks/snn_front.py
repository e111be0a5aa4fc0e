"""The front around SNN on LeNet-300-100: accuracy against parameters, as one picture.

Points of ours are rows of ``snn.json``; the others are what their papers say (Han et al., table 1).

    python benchmarks/snn_front.py --out docs/pictures/snn_front.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Name, parameters, accuracy in percent on the test split.
PAPERS = (
    ("SNN connections (paper)", 42_500, 98.43),
    ("SNN neurons (paper)", 47_700, 98.42),
    ("DDP (its paper)", 8_200, 98.38),
    ("L0 (its paper)", 26_600, 98.20),
)
TOOLS = {
    "connection": "SNN connections, 10 epochs",
    "neuron": "SNN neurons, 20 epochs",
    "sparsify": "sparsify + finetune, 10 epochs",
}
EPOCHS = {"connection": 10, "neuron": 20, "sparsify": 10}


def select_rows(rows: list[dict[str, Any]], tool: str) -> list[dict[str, Any]]:
    """Return the rows of a tool that began with the trained network, the newest of each seed."""
    newest = {
        row["seed"]: row
        for row in rows
        if row["arch"] == "lenet300_100"
        and row["tool"] == tool
        and row["start"] == "trained"
        and row["epochs"] == EPOCHS[tool]
    }
    return list(newest.values())


def draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for marker, (tool, name) in zip("osD", TOOLS.items(), strict=True):
        mine = select_rows(rows, tool)
        axes.scatter(
            [row["params_left"] / 1e3 for row in mine],
            [row["test_accuracy"] for row in mine],
            marker=marker,
            label=f"{name}, {len(mine)} seeds",
        )
    for marker, (name, params, accuracy) in zip("ov^x", PAPERS, strict=True):
        axes.scatter([params / 1e3], [accuracy], marker=marker, color="0.55", label=name)
    base = rows[0]["base_test_accuracy"]
    axes.axhline(base, linewidth=0.8, linestyle=":", color="0.4")
    axes.text(2, base + 0.01, "the original, 266.6 K parameters", fontsize=8, color="0.4")
    axes.set(
        xlabel="weights other than zero, and biases (thousands)",
        ylabel="accuracy on MNIST's test split (%)",
        xlim=(0, 60),
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(0.01, 0.62))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path(__file__).with_name("snn.json"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    # The same picture from the same rows, byte for byte.
    mpl.rcParams["svg.hashsalt"] = "snn"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(options.rows.read_text())["rows"]
    draw(rows).savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
