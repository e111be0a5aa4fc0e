"""Records: documents with tensors, as bytes in which nothing can run."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

# A tensor that holds the text of the document.
_DOCUMENT = "document"


@dataclass(frozen=True, eq=False)
class Record:
    """A document and the tensors that it speaks of.

    Attributes:
        document: what JSON knows: mappings by text, lists, texts, numbers, None.
        tensors: by name.
    """

    document: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the record in the safetensors format."""
        text = json.dumps(self.document, default=str).encode()
        # A copy each: tied weights share memory, which the format does not know.
        copies = {f"/{n}": t.detach().cpu().contiguous().clone() for n, t in self.tensors.items()}
        copies[_DOCUMENT] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        return save(copies)

    @classmethod
    def from_bytes(cls, content: bytes) -> Record:
        """Read what :meth:`to_bytes` returned.

        Raises:
            ValueError: if it is something else.
        """
        try:
            tensors = load(content)
            document = json.loads(tensors.pop(_DOCUMENT).numpy().tobytes())
        except (SafetensorError, KeyError) as error:
            raise ValueError("not a record") from error
        return cls(document, {name.removeprefix("/"): tensors[name] for name in tensors})


def pack_state(state: Mapping[str, Any]) -> bytes:
    """Return nested containers of tensors and plain values as bytes, memory layouts included."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def unpack_state(content: bytes | None) -> dict[str, Any] | None:
    """Return what :func:`pack_state` packed, on the CPU; None where it cannot be read.

    torch unpickles it, but nothing other than tensors and plain containers.
    """
    if content is None:
        return None
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) else None
