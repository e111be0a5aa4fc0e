"""Turns the lines of the coverage benchmark into docs/coverage.md.

python benchmarks/coverage_table.py benchmarks/coverage.jsonl docs/coverage.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

Line = dict[str, Any]

_HEAD = """# Coverage: half the MACs, with proof

Written by `benchmarks/coverage_table.py` from `{source}`; measured by `benchmarks/coverage.py`.

For every foreign model: capture, `magnitude` pruning to half the MACs (uniform, channel step 1),
lowering, and the proof that the lowered network computes what the masked original computes, in
float64, with random weights and calibrated batch norms, judged against how much the output varies
over inputs (tolerance 1e-7 of that); then `.pt2` saved and loaded again, ONNX exported and compared
in ONNX Runtime. No model has code of its own. "reached" means at most 50.5 % of the MACs and every
check passed. Seconds are CPU seconds of one thread on a shared machine. Models are run in an order
that spreads over libraries and families; each line of the file names the commit that it was run at.

`torch.utils.flop_counter` does not know LSTMs and torch's fused attention layers, so that it counts
less than we do where a model has those. An ONNX file may count less than the program: what is
computed from constants alone (tables of positions) is folded at export.

"""


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    lines = [json.loads(text) for text in arguments.source.read_text().splitlines()]
    ours = sorted((x for x in lines if x["tool"] == "compressc"), key=lambda x: x["model"])
    theirs = {x["model"]: x for x in lines if x["tool"] == "torch-pruning"}
    text = _HEAD.format(source=arguments.source)
    text += _summary(ours, theirs) + _speed(ours) + _failures(ours) + _table(ours, theirs)
    arguments.target.write_text(text)


def _summary(ours: Sequence[Line], theirs: dict[str, Line]) -> str:
    reached = sum(line["ok"] for line in ours)
    families = len({line["model"].partition(":")[0] + line["family"] for line in ours})
    rows = [
        f"- {len(ours)} models of {families} families tried; **{reached}** reached with proof.",
    ]
    checked = [line for line in ours if "macs" in line and line.get("flops_macs")]
    equal = sum(line["macs"] == line["flops_macs"] for line in checked)
    rows.append(
        f"- MACs of the original equal `torch.utils.flop_counter` / 2 on {equal} of {len(checked)}."
    )
    saved = [line for line in ours if "pt2" in line]
    if saved:
        rows.append(
            f"- `.pt2` saved and loaded with equal outputs: {sum(x['pt2'] for x in saved)} of "
            f"{len(saved)} tried."
        )
    exported = [line for line in ours if "onnx" in line]
    if exported:
        same = sum(x.get("onnx_macs") == x.get("lowered_macs") for x in exported)
        rows.append(
            f"- ONNX Runtime equals torch at two batch sizes: {sum(x['onnx'] for x in exported)} "
            f"of {len(exported)} tried; MACs counted in the ONNX file equal ours on {same}."
        )
    both = [line for line in ours if line["model"] in theirs]
    if both:
        peer = sum(theirs[line["model"]]["ok"] for line in both)
        here = sum(line["ok"] for line in both)
        rows.append(
            f"- On the {len(both)} models that both tools ran: compressc {here}, Torch-Pruning "
            f"{peer} (its own documented use, L2 magnitude, steps until half the MACs; its result "
            "has only to run and keep its output shapes)."
        )
    return "\n".join(rows) + "\n\n"


def _speed(ours: Sequence[Line]) -> str:
    """Return times against node counts."""
    timed = [x for x in ours if "nodes" in x and "plan" in x.get("cpu_seconds", {})]
    if not timed:
        return ""
    rows = ["## Time against size", "", "| nodes | models | capture s | couple s | plan s |"]
    rows.append("|---|---|---|---|---|")
    edges = (0, 200, 400, 800, 1600, 1 << 30)
    for low, high in pairwise(edges):
        group = [x for x in timed if low <= x["nodes"] < high]
        if group:
            cells = [_range([x["cpu_seconds"][k] for x in group]) for k in _STAGES]
            label = f"{low}-{high}" if high < 1 << 30 else f"over {low}"
            rows.append(f"| {label} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n\nMedian and largest of each bin.\n\n"


_STAGES = ("capture", "couple", "plan")


def _range(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.2f} / {ordered[-1]:.2f}"


def _failures(ours: Sequence[Line]) -> str:
    failed = [line for line in ours if not line["ok"]]
    if not failed:
        return ""
    stages = Counter(line["stage"] for line in failed)
    rows = ["## What was not reached", ""]
    rows.append("By stage: " + ", ".join(f"{name} {count}" for name, count in stages.items()) + ".")
    rows.append("")
    rows.extend(f"- `{x['model']}` ({x['stage']}): {_clip(x)}" for x in failed)
    return "\n".join(rows) + "\n\n"


def _clip(line: Line) -> str:
    return " ".join(str(line.get("reason", "no reason given")).split())[:240]


def _table(ours: Sequence[Line], theirs: dict[str, Line]) -> str:
    rows = ["## Every model", ""]
    rows.append("| model | nodes | MACs (M) | kept | error | proof | Torch-Pruning |")
    rows.append("|---|---|---|---|---|---|---|")
    for line in ours:
        peer = theirs.get(line["model"])
        verdict = "" if peer is None else "yes" if peer["ok"] else "no"
        error = line.get("relative_error")
        cells = [
            line["model"],
            str(line.get("nodes", "")),
            f"{line['macs'] / 1e6:.0f}" if "macs" in line else "",
            f"{line['macs_ratio']:.3f}" if "macs_ratio" in line else "",
            f"{error:.0e}" if error is not None else "",
            "reached" if line["ok"] else "no",
            verdict,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
