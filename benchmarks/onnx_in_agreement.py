"""How far pruned files of packages still agree with the original, bare and repaired.

Inputs of the right kind are made on the spot (onnx_in_inputs.py): some repair, others judge. Both
files run in ONNX Runtime. Rows are written as they end, so an interrupted run goes on.

    python benchmarks/onnx_in_agreement.py -o benchmarks/onnx_in_agreement.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kit.records import describe_run, read_record, write_record
from onnx_in_files import OnnxFile, list_files
from onnx_in_inputs import INPUTS, Arrays

import compressc
from compressc import Goal
from compressc.datasets.unlabeled_files import open_arrays
from compressc.errors import CompresscError
from compressc.frontend.input_shape import parse_input_shape
from compressc.runtime.session import create_session, open_session, run_session
from compressc.settings import Repair, Settings

_RATIOS = (0.7, 0.5)
_WAYS = ("bare", "repaired")
_JUDGING, _BATCH = 64, 16
# What is counted in a map of probabilities.
_THRESHOLD = 0.3


def compare(original: list[Arrays], result: list[Arrays]) -> dict[str, float]:
    """Return how far outputs agree: shares from 0 to 1.

    Of scores over classes (the last axis, when they add up to 1 there): the same class, per sample
    and per step. Of maps of probabilities: what both mark beside what either marks.
    """
    first, second = original[0], result[0]
    if first.shape[-1] > 1 and np.allclose(first.sum(-1), 1, atol=1e-2):
        same = first.argmax(-1) == second.argmax(-1)
        agreement = {"same_class": float(same.mean())}
        if same.ndim > 1:
            agreement["whole_samples"] = float(same.all(axis=tuple(range(1, same.ndim))).mean())
        return agreement
    names = [f"overlap_{place}" for place in range(len(original))]
    return {
        name: _overlap(one_map > _THRESHOLD, other > _THRESHOLD)
        for name, one_map, other in zip(names, original, result, strict=True)
    }


def _overlap(marked: Arrays, others: Arrays) -> float:
    either = int((marked | others).sum())
    return float((marked & others).sum() / either) if either else 1.0


def run_row(
    file: OnnxFile, path: Path, inputs: Arrays, ratio: float, way: str, seconds: float
) -> dict[str, Any]:
    """Compress a file one way and hold it against the original."""
    row: dict[str, Any] = {"file": file.key, "ratio": ratio, "way": way, "judged_on": _JUDGING}
    started = time.process_time()
    _, shapes, repairing = INPUTS[file.key]
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = compressc.load(
                path, input_shape=parse_input_shape(shapes) if shapes else None
            )
            samples = Path(folder) / "samples.npz"
            np.savez(samples, x=inputs[:repairing])
            task = None if way == "bare" else open_arrays(samples, program, None, _BATCH, 0)
            result = compressc.compress(
                program,
                goal=Goal(macs=ratio),
                passes=["magnitude"] if way == "bare" else None,
                task=task,
                settings=Settings(measure=False),
                repair=Repair("never", seconds),
                progress=lambda *_: None,
            )
            row["repaired_on"] = 0 if way == "bare" else repairing
            row["macs"] = round(result.report.after.macs / result.report.before.macs, 4)
            row["params"] = round(result.report.after.params / result.report.before.params, 4)
            row["checks"] = {c.name: c.text for c in result.report.verdict.checks}
            judged = inputs[repairing:]
            old = _outputs(open_session(path), judged)
            new = _outputs(create_session(result.onnx.SerializeToString(), "result"), judged)
            row.update(compare(old, new))
    except CompresscError as error:
        row["reason"] = str(error)
    row["cpu_seconds"] = round(time.process_time() - started, 1)
    return row


def _outputs(session: Any, inputs: Arrays) -> list[Arrays]:
    name = session.get_inputs()[0].name
    parts = [
        run_session(session, {name: inputs[start : start + _BATCH]}, "the file")
        for start in range(0, len(inputs), _BATCH)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def main() -> None:
    """Run what is not in the record yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of keys")
    parser.add_argument("--ratios", nargs="*", type=float, default=list(_RATIOS))
    parser.add_argument("--seconds", type=float, default=300.0, help="of gradient steps and such")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = read_record(arguments.output)
    done = {(row["file"], row["ratio"], row["way"]) for row in record["rows"]}
    for file in list_files():
        if file.key not in INPUTS or not any(fnmatchcase(file.key, p) for p in arguments.only):
            continue
        todo = [(r, w) for r in arguments.ratios for w in _WAYS if (file.key, r, w) not in done]
        if not todo:
            continue
        make, _, repairing = INPUTS[file.key]
        inputs = make(repairing + _JUDGING)
        with tempfile.TemporaryDirectory() as folder:
            path = file.prepare(Path(folder))
            for ratio, way in todo:
                row = run_row(file, path, inputs, ratio, way, arguments.seconds)
                record["rows"].append(row)
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
                write_record(arguments.output, {**record, **describe_run()})


if __name__ == "__main__":
    main()
