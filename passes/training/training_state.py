"""Training state: what lies on disk between epochs, so that a killed run goes on from there."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from compressc.errors import OutputError
from compressc.program import Program
from compressc.writing import write_atomically


class StateFile:
    """The file of one run: its name carries the run's identity, so runs never mix.

    Attributes:
        path: in the folder for state.
    """

    def __init__(self, folder: Path, name: str, identity: str) -> None:
        self.path = folder / f"{name}-{identity[:16]}.pt"
        self._identity = identity

    def read(self) -> dict[str, Any] | None:
        """Return the state after the last finished epoch, or None where there is none.

        Raises:
            OutputError: if the file cannot be read, or holds the state of another run.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise OutputError(
                f"{self.path}: cannot be read as the state of a training run "
                f"({type(error).__name__}); delete it to train anew"
            ) from error
        if state.get("identity") != self._identity:
            raise OutputError(f"{self.path}: is the state of another run; delete it to train anew")
        return state

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the state on disk by this one, all of it or nothing.

        Raises:
            OutputError: if it cannot be written; the state of the epoch before is kept.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path.parent}: cannot be made ({error.strerror}); choose another --work-dir"
            ) from error
        # By way of memory: torch hides why it could not write to a file.
        buffer = io.BytesIO()
        torch.save({**state, "identity": self._identity}, buffer)
        write_atomically(self.path, lambda path: path.write_bytes(buffer.getbuffer()))


def identify(
    programs: Iterable[Program], settings: Mapping[str, Any], batch: Any, context: Iterable[Any]
) -> str:
    """Return a digest of everything that decides what training results in.

    Args:
        programs: graphs and weights that go in.
        settings: hyper-parameters of the pass.
        batch: the first batch, which stands for the data.
        context: seed, number of processes and so on.
    """
    digest = hashlib.sha256(json.dumps([settings, list(context)], default=str).encode())
    for program in programs:
        digest.update(program.graph_module.code.encode())
        for name, tensor in program.state().items():
            digest.update(name.encode())
            digest.update(_raw(tensor))
    for leaf in pytree.tree_leaves(batch):
        digest.update(_raw(leaf) if isinstance(leaf, Tensor) else repr(leaf).encode())
    return digest.hexdigest()


def _raw(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    described = f"{plain.dtype}{tuple(plain.shape)}".encode()
    return described + plain.reshape(-1).view(torch.uint8).numpy().tobytes()
