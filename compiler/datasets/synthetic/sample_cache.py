"""Sample cache: synthetic inputs on disk, so that a run that was cut off finds them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from compressc.datasets.synthetic.making import SyntheticInputs, SyntheticSettings, make_inputs
from compressc.datasets.synthetic.matching import Progress
from compressc.fingerprints import fingerprint
from compressc.plan import Plan
from compressc.program import Program
from compressc.writing import write_atomically

_FORMAT = "compressc-synthetic-1"
# As many digits as the folders of finished passes have, beside which these lie.
_KEY_LENGTH = 32
_FILE = "samples.safetensors"
# What took less is sooner done again than read.
_WORTH_SAVING_SECONDS = 1.0
_UNUSABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError)


def find_or_make_inputs(
    program: Program,
    settings: SyntheticSettings,
    seed: int,
    progress: Progress,
    work_dir: Path | None,
) -> SyntheticInputs:
    """Return the inputs that an earlier run made for the same network, or make them.

    Args:
        program: the original; a pending plan does not matter.
        settings: how many, and what that may cost.
        seed: of every random choice.
        progress: called with (done, total, text).
        work_dir: where they are kept; None for nowhere.

    Raises:
        DataError: as :func:`make_inputs`.
        OutputError: if they cannot be written.
    """
    if work_dir is None:
        return make_inputs(program, settings, seed, progress)
    whole = replace(program, plan=Plan())
    key = fingerprint(_FORMAT, version("compressc"), torch.__version__, whole, settings, seed)
    path = work_dir / key[:_KEY_LENGTH] / _FILE
    known = _read(path)
    if known is None:
        started = time.perf_counter()
        known = make_inputs(program, settings, seed, progress)
        if time.perf_counter() - started > _WORTH_SAVING_SECONDS:
            _write(known, path)
    return known


def _read(path: Path) -> SyntheticInputs | None:
    try:
        with safe_open(path, framework="pt") as stream:
            notes = json.loads(stream.metadata()["notes"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        repairing, judging = (
            tuple(tensors[f"{use}/{place}"] for place in range(len(tensors) // 2))
            for use in ("repairing", "judging")
        )
        return SyntheticInputs(repairing, judging, tuple(map(str, notes)))
    # Torn, or foreign: it is made anew.
    except _UNUSABLE:
        return None


def _write(inputs: SyntheticInputs, path: Path) -> None:
    tensors = {
        f"{use}/{place}": tensor.contiguous()
        for use in ("repairing", "judging")
        for place, tensor in enumerate(getattr(inputs, use))
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = serialize(tensors, {"notes": json.dumps(list(inputs.notes))})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
