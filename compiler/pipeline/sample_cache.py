"""Sample cache: synthetic inputs on disk, so that a run that was cut off finds them."""

from __future__ import annotations

import time
from pathlib import Path

from compressc.clock import ProgressCallback
from compressc.datasets.synthetic.making import SyntheticInputs, SyntheticSettings, make_inputs
from compressc.program import Program
from compressc.store.identity import identify
from compressc.store.records import Record
from compressc.store.store import Store

_NAME = "samples"
# As many digits as the folders of finished passes have, beside which these lie.
_KEY_LENGTH = 32
# What took less is sooner done again than read.
_WORTH_SAVING_SECONDS = 1.0


def identify_samples(program: Program, settings: SyntheticSettings, seed: int) -> str:
    """Return the identity of the inputs that would be made from a network."""
    return identify("synthetic inputs", settings, seed, program=program)


def find_or_make_inputs(
    program: Program,
    settings: SyntheticSettings,
    seed: int,
    progress: ProgressCallback,
    work_dir: Path | None,
) -> SyntheticInputs:
    """Return the inputs that an earlier run made for the same network, or make them.

    Args:
        program: the original, without a pending plan.
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
    identity = identify_samples(program, settings, seed)
    store = Store(work_dir / identity[:_KEY_LENGTH], identity)
    content = store.load(_NAME)
    if content is not None:
        return _unpack(Record.from_bytes(content))
    started = time.perf_counter()
    inputs = make_inputs(program, settings, seed, progress)
    if time.perf_counter() - started > _WORTH_SAVING_SECONDS:
        store.save(_NAME, _pack(inputs).to_bytes())
    return inputs


def _pack(inputs: SyntheticInputs) -> Record:
    tensors = {
        f"{use}/{place}": tensor
        for use, made in (("repairing", inputs.repairing), ("judging", inputs.judging))
        for place, tensor in enumerate(made)
    }
    return Record({"notes": list(inputs.notes)}, tensors)


def _unpack(record: Record) -> SyntheticInputs:
    repairing, judging = (
        tuple(record.tensors[f"{use}/{place}"] for place in range(len(record.tensors) // 2))
        for use in ("repairing", "judging")
    )
    return SyntheticInputs(repairing, judging, tuple(map(str, record.document["notes"])))
