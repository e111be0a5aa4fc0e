"""A pass's result on disk, so that a run that was killed goes on behind it.

What a pass returns is its plan, its weights and its remarks; with the same program, settings, goal
and data it returns the same again. So its result lies in a folder named by a digest of all these,
and a later run that comes to the same point takes it from there. The file is safetensors: nothing
in it can run, and it carries a digest of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import string
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from compressc.contract.context import Context
from compressc.contract.declaration import Pass
from compressc.errors import CompresscError, OutputError
from compressc.fingerprints import fingerprint, fingerprint_task, update_with
from compressc.plan import Plan
from compressc.program import HistoryLine, Program
from compressc.writing import write_atomically

_FORMAT = "compressc-pass-1"
_KEY_LENGTH = 32
_FILE = "result.safetensors"
# What reading a torn or foreign file raises; what does not fit the program raises our own errors.
_UNUSABLE = (
    OSError,
    SafetensorError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    CompresscError,
)


class SavedPass:
    """The place on disk of one pass on one program.

    Args:
        work_dir: folder for the state of whole runs.
        program: what the pass is called with.
        one: the pass.
        settings: its hyper-parameters.
        context: what else the result depends on.

    Attributes:
        folder: of this pass; it may keep state of its own there while it runs.
    """

    def __init__(
        self,
        work_dir: Path,
        program: Program,
        one: Pass,
        settings: Mapping[str, Any],
        context: Context,
    ) -> None:
        self._program = program
        self._settings = settings
        self._key = fingerprint(
            _FORMAT,
            version("compressc"),
            torch.__version__,
            f"{type(one).__module__}.{type(one).__qualname__}",
            sorted(settings.items()),
            context.goal,
            program,
            context.original,
            fingerprint_task(context.task, context.goal.seed),
            _where_it_runs(one, context),
        )[:_KEY_LENGTH]
        self.folder = work_dir / self._key

    @property
    def exists(self) -> bool:
        """Whether there is a result, usable or not."""
        return (self.folder / _FILE).exists()

    def load(self) -> tuple[Program, HistoryLine] | None:
        """Return what the pass made of the program in an earlier run, None where that is damaged.

        Every part is checked: the digest of the file, and that plan and weights fit the program.
        """
        try:
            document, tensors = _read(self.folder / _FILE)
            if document["key"] != self._key:
                return None
            program = self._program.with_plan(_unpack(document["plan"], tensors))
            if document["weights"]:
                weights = {
                    name.removeprefix("weights/"): tensor
                    for name, tensor in tensors.items()
                    if name.startswith("weights/")
                }
                program = program.with_state(weights)
            history = tuple(_step_from(entry) for entry in document["history"])
            program = replace(
                program,
                history=(*program.history, *history),
                sparse_weights=tuple(map(str, document["sparse_weights"])),
            )
            return program, replace(_step_from(document["step"]), settings=self._settings)
        except _UNUSABLE:
            return None

    def save(self, result: Program, step: HistoryLine) -> None:
        """Write what the pass returned, and remove the state that it kept while it ran.

        A result that is more than a plan and weights (another graph) is not kept.

        Raises:
            OutputError: if the file cannot be written.
        """
        before = self._program
        same_graph = (
            result.graph_module.code == before.graph_module.code
            and result.constraints == before.constraints
            and _shapes(result) == _shapes(before)
        )
        if not same_graph:
            return
        tensors: dict[str, Tensor] = {}
        document = {
            "format": _FORMAT,
            "key": self._key,
            "plan": _pack(result.plan, tensors),
            "weights": result.graph_module is not before.graph_module,
            "sparse_weights": list(result.sparse_weights),
            "history": [_entry(added) for added in result.history[len(before.history) :]],
            "step": _entry(step),
        }
        if document["weights"]:
            for name, tensor in result.state().items():
                # A copy each: tied weights share memory, which the format does not know.
                tensors[f"weights/{name}"] = tensor.detach().cpu().contiguous().clone()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: state of this run cannot be kept ({error.strerror}); choose "
                "another --work-dir"
            ) from error
        text = json.dumps(document, default=str)
        metadata = {"document": text, "digest": _digest(text, tensors)}
        path = self.folder / _FILE
        # Written by Python, whose errors say why: safetensors' own writer hides a full disk.
        content = serialize(tensors, metadata)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        for other in self.folder.iterdir():
            if other != path:
                _remove(other)


def remove_saved_passes(work_dir: Path) -> None:
    """Remove what runs kept in a folder, and the folder itself if nothing else is in it."""
    if not work_dir.is_dir():
        return
    for folder in list(work_dir.iterdir()):
        if len(folder.name) == _KEY_LENGTH and set(folder.name) <= set(string.hexdigits):
            _remove(folder)
    if not any(work_dir.iterdir()):
        work_dir.rmdir()


def _where_it_runs(one: Pass, context: Context) -> str:
    """Return what a latency is meant at; nothing where none is asked for."""
    if context.goal.latency_ms is None and one.declares.channel_step != "own":
        return ""
    return repr(context.target.identity)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata() or {}
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    text = metadata["document"]
    if metadata["digest"] != _digest(text, tensors):
        raise ValueError("the content does not match its digest")
    document: dict[str, Any] = json.loads(text)
    return document, tensors


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        update_with(digest, tensors[name])
    return digest.hexdigest()


def _shapes(program: Program) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in program.state().items()}


def _pack(plan: Plan, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the plan without its masks, which go to ``tensors``."""
    names: dict[str, Any] = {"digest": plan.digest, "keep": {}, "zero": {}}
    for kind, masks in (("keep", plan.keep), ("zero", plan.zero)):
        for name, mask in masks.items():
            key = f"plan/{kind}/{len(names[kind])}"
            tensors[key] = torch.from_numpy(mask.copy())
            names[kind][name] = key
    rank = {name: list(ranks) for name, ranks in plan.rank.items()}
    return {**names, "rank": rank, "choice": dict(plan.choice)}


def _unpack(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Plan:
    masks = {
        kind: {name: tensors[key].numpy() for name, key in document[kind].items()}
        for kind in ("keep", "zero")
    }
    plan = Plan(masks["keep"], masks["zero"], document["rank"], document["choice"])
    if plan.digest != document["digest"]:
        raise ValueError("the plan does not match its digest")
    return plan


def _entry(step: HistoryLine) -> dict[str, Any]:
    return {
        "name": step.name,
        "settings": dict(step.settings),
        "seconds": step.seconds,
        "notes": list(step.notes),
        "numbers": dict(step.numbers),
    }


def _step_from(entry: Mapping[str, Any]) -> HistoryLine:
    notes = tuple(map(str, entry["notes"]))
    numbers = {str(name): float(number) for name, number in entry["numbers"].items()}
    return HistoryLine(
        str(entry["name"]), entry["settings"], float(entry["seconds"]), notes, numbers
    )
