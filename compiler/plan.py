"""The plan: every decision a pass can make, as one frozen value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from compressc.array_types import BoolArray
from compressc.errors import PlanError
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.stored_arrays import StoredArrays
from compressc.writing import write_atomically, write_text

_FORMAT = "compressc-plan-1"
# What reading a missing, truncated or foreign pair of files raises.
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    RuntimeFailure,
)


def _freeze(masks: Mapping[str, BoolArray]) -> Mapping[str, BoolArray]:
    frozen: dict[str, BoolArray] = {}
    for name in sorted(masks):
        array = np.array(masks[name], dtype=bool)
        array.setflags(write=False)
        frozen[name] = array
    return MappingProxyType(frozen)


@dataclass(frozen=True, eq=False)
class Plan:
    """Decisions over one Program; ``True`` stays, ``False`` leaves.

    Attributes:
        keep: per ChannelGroup name, one bool per unit, shape (units,).
        zero: per parameter name, one bool per weight (False becomes zero), the parameter's shape.
        rank: per layer name, the ranks of its factorisation: (r,) for SVD, (r_out, r_in) for
            Tucker-2.
        choice: per architecture node, the index of the chosen candidate.
    """

    keep: Mapping[str, BoolArray] = field(default_factory=dict)
    zero: Mapping[str, BoolArray] = field(default_factory=dict)
    rank: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    choice: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", _freeze(self.keep))
        object.__setattr__(self, "zero", _freeze(self.zero))
        ranks = {name: tuple(int(r) for r in self.rank[name]) for name in sorted(self.rank)}
        object.__setattr__(self, "rank", MappingProxyType(ranks))
        choices = {name: int(self.choice[name]) for name in sorted(self.choice)}
        object.__setattr__(self, "choice", MappingProxyType(choices))

    def __reduce__(self) -> tuple[object, ...]:
        return (Plan, (dict(self.keep), dict(self.zero), dict(self.rank), dict(self.choice)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __bool__(self) -> bool:
        return bool(self.keep or self.zero or self.rank or self.choice)

    @property
    def digest(self) -> str:
        """SHA-256 over every decision; equal plans have equal digests on every machine."""
        sha = hashlib.sha256()
        for kind, masks in (("keep", self.keep), ("zero", self.zero)):
            for name, mask in masks.items():
                sha.update(f"{kind}\0{name}\0{mask.shape}\0".encode())
                sha.update(np.packbits(mask).tobytes())
        sha.update(json.dumps([dict(self.rank), dict(self.choice)], sort_keys=True).encode())
        return sha.hexdigest()

    def with_keep(self, keep: Mapping[str, BoolArray]) -> Plan:
        """Return this plan with the given groups decided anew."""
        return replace(self, keep={**self.keep, **keep})

    def with_zero(self, zero: Mapping[str, BoolArray]) -> Plan:
        """Return this plan with the given weight masks decided anew."""
        return replace(self, zero={**self.zero, **zero})

    def with_rank(self, rank: Mapping[str, tuple[int, ...]]) -> Plan:
        """Return this plan with the ranks of the given layers decided anew."""
        return replace(self, rank={**self.rank, **rank})

    def with_choice(self, choice: Mapping[str, int]) -> Plan:
        """Return this plan with the given architecture nodes decided anew."""
        return replace(self, choice={**self.choice, **choice})

    def pack(self) -> tuple[dict[str, Any], dict[str, BoolArray]]:
        """Return the plan as a document that JSON can hold, and its masks by names used there."""
        masks: dict[str, BoolArray] = {}
        document: dict[str, Any] = {
            "format": _FORMAT,
            "digest": self.digest,
            "rank": {name: list(ranks) for name, ranks in self.rank.items()},
            "choice": dict(self.choice),
            "keep": {},
            "zero": {},
        }
        for kind, decided in (("keep", self.keep), ("zero", self.zero)):
            for name, mask in decided.items():
                key = f"{kind}{len(masks)}"
                masks[key] = mask.copy()
                document[kind][name] = {"array": key, "shape": list(mask.shape)}
        return document, masks

    @classmethod
    def unpack(cls, document: Mapping[str, Any], masks: Mapping[str, BoolArray]) -> Plan:
        """Return the plan that :meth:`pack` took apart.

        Raises:
            PlanError: if the masks are not those that the document was made with.
            KeyError, TypeError, ValueError: if it is something else.
        """
        named = {
            kind: {name: masks[entry["array"]] for name, entry in document[kind].items()}
            for kind in ("keep", "zero")
        }
        plan = cls(named["keep"], named["zero"], document["rank"], document["choice"])
        if plan.digest != document["digest"]:
            raise PlanError("the masks do not match the digest; the files were mixed up")
        return plan

    def save(self, path: str | Path) -> None:
        """Write the plan as ``path`` (JSON) and its masks beside it as ``.npz``.

        Raises:
            OutputError: if a file cannot be written.
        """
        path = Path(path)
        document, masks = self.pack()
        arrays: dict[str, Any] = {name: np.packbits(mask) for name, mask in masks.items()}

        def write_masks(temporary: Path) -> None:
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, **arrays)

        write_atomically(path.with_suffix(".npz"), write_masks)
        write_text(path, json.dumps(document, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan written by :meth:`save`.

        Raises:
            PlanError: if the files are missing, damaged, or do not carry the digest they claim.
        """
        path = Path(path)
        try:
            document = json.loads(path.read_text())
            arrays = StoredArrays(path.with_suffix(".npz"))
            masks = {
                entry["array"]: _unpack(arrays, entry)
                for kind in ("keep", "zero")
                for entry in document[kind].values()
            }
            return cls.unpack(document, masks)
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from error
        except _DAMAGED as error:
            raise PlanError(f"{path}: not a readable plan ({error}); write it again") from error


def _unpack(arrays: Mapping[str, Any], entry: Mapping[str, Any]) -> BoolArray:
    shape = tuple(int(size) for size in entry["shape"])
    count, packed = prod(shape), arrays[entry["array"]]
    # Otherwise numpy fills up with zeros, to any size.
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise ValueError(f"mask '{entry['array']}' does not have the shape {shape}")
    flat = np.unpackbits(packed, count=count)
    return flat.astype(bool).reshape(shape)
