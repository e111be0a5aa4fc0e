"""Trained agents: what training left, on disk or in memory, for any number of goals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressc.array_types import FloatArray
from compressc.content import feed_content
from compressc.errors import PolicyError
from compressc.passes.gates.gated_units import GatedUnits
from compressc.plan import Plan
from compressc.program import Constraints, Program
from compressc.writing import write_atomically

_FORMAT = "compressc-policies-2"
_PREFIX = "state/"


@dataclass(frozen=True, eq=False)
class TrainedAgents:
    """What training agents gave.

    Attributes:
        weights: of the agents, shape (agents,); below 0 the channel is dropped.
        network: weights of the network that learned along, None where it did not.
        notes: how training went.
    """

    weights: FloatArray
    network: Mapping[str, Tensor] | None
    notes: tuple[str, ...] = field(default=())

    def save(self, path: str | Path, program: Program, agents: GatedUnits) -> None:
        """Write the policies as ``.npz``: no code in it, and a digest of all of it.

        Args:
            path: the file.
            program: that the agents were trained on.
            agents: whose weights they are.

        Raises:
            OutputError: if the file cannot be written.
        """
        arrays: dict[str, Any] = {"agent_weights": self.weights}
        dtypes: dict[str, str] = {}
        for name, tensor in (self.network or {}).items():
            dtypes[name] = str(tensor.dtype).removeprefix("torch.")
            # numpy has no bfloat16; floats hold what any half holds.
            plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            arrays[_PREFIX + name] = plain.numpy()
        document = {
            "format": _FORMAT,
            "program": _digest_of(program),
            "groups": list(agents.groups),
            "sizes": list(agents.sizes),
            "dtypes": dtypes,
            "joint": self.network is not None,
            "notes": list(self.notes),
        }
        text = json.dumps(document)
        arrays["document"], arrays["digest"] = np.array(text), np.array(_digest(text, arrays))

        def write(temporary: Path) -> None:
            with temporary.open("wb") as stream:
                np.savez(stream, **arrays)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: str | Path, program: Program, agents: GatedUnits) -> TrainedAgents:
        """Read what :meth:`save` wrote.

        Raises:
            PolicyError: if the file is damaged, or of another program or other groups.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            text, claimed = str(arrays.pop("document")), str(arrays.pop("digest"))
            document = json.loads(text)
            intact = claimed == _digest(text, arrays) and document["format"] == _FORMAT
        except Exception as error:
            cause = " ".join(str(error).split())[:100]
            raise PolicyError(
                f"{path}: not a readable file of policies ({cause}); delete it to train anew"
            ) from error
        if not intact:
            raise PolicyError(f"{path}: the content does not match its digest; train anew")
        if document["program"] != _digest_of(program):
            raise PolicyError(
                f"{path}: these policies were trained on another model, or on other weights; name "
                "another file to train anew"
            )
        if (tuple(document["groups"]), tuple(document["sizes"])) != (agents.groups, agents.sizes):
            raise PolicyError(
                f"{path}: these policies were trained under other constraints (--keep, "
                "statistics); name another file to train anew"
            )
        network = None
        if document["joint"]:
            network = {
                name: torch.from_numpy(arrays[_PREFIX + name]).to(getattr(torch, dtype))
                for name, dtype in document["dtypes"].items()
            }
        notes = (f"policies from {path}, not trained now", *document["notes"])
        return cls(arrays["agent_weights"], network, notes)


def _digest_of(program: Program) -> str:
    """Return a digest of graph and weights; decisions and constraints do not count."""
    digest = hashlib.sha256()
    feed_content(digest, replace(program, plan=Plan(), constraints=Constraints()))
    return digest.hexdigest()


def _digest(text: str, arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(set(arrays) - {"document", "digest"}):
        digest.update(name.encode())
        feed_content(digest, arrays[name])
    return digest.hexdigest()
