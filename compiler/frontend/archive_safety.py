"""Makes a ``.pt2`` safe to load: reads it, checks it, writes what was checked into a new archive.

``torch.export.load`` unpickles weights, constants and example inputs without restriction, loads
compiled libraries, and trusts the program description. It is therefore never given the file itself,
but an archive built here from tensors, plain JSON and nothing else. Reading and checking work on
the same bytes, so a file that two zip readers see differently gains nothing.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.pt2_archive import PT2ArchiveWriter, constants

from compressc.errors import HandOverError
from compressc.frontend.archive_schema import check_payloads, check_program

# A record may be expanded (stride 0) when it is read; this many elements are never unreasonable.
_FREE_ELEMENTS = 2**26
_MAX_EXPANSION = 16
_MODEL = "model"
_DAMAGED = "the file is damaged or truncated; copy or save it again"
# What zipfile raises on damaged headers; NotImplementedError is a RuntimeError.
_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError)
_MAX_EXTRA_BYTES = 16 * 2**20


@dataclass(frozen=True)
class CheckedArchive:
    """A rebuilt archive that ``torch.export`` may load.

    Attributes:
        content: the archive, under the model name "model".
        extra: the text members of ``extra/`` by name.
        has_inputs: whether it carries example inputs.
    """

    content: bytes
    extra: dict[str, str]
    has_inputs: bool


def read_stored_members(source: Path | io.BytesIO) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a zip written by torch, by name, without reading them.

    torch stores members uncompressed, so the members of an honest file are no larger than the file.

    Raises:
        HandOverError: if the zip is damaged, holds a member twice, or members that are compressed,
            encrypted, larger than the file, or named like a path to somewhere else.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
    except _ZIP_ERRORS as error:
        raise HandOverError(_DAMAGED) from error
    size = source.stat().st_size if isinstance(source, Path) else len(source.getbuffer())
    members = {info.filename: info for info in infos}
    if len({name.lower() for name in members}) != len(infos):
        raise HandOverError("the archive holds two members of one name; save it again with torch")
    for name, info in members.items():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
            raise HandOverError(
                f"member '{name[:80]}' is compressed or encrypted, which torch never writes; "
                "save the file again with torch"
            )
        if ".." in name.split("/") or name.startswith("/") or "\\" in name or "\0" in name:
            raise HandOverError(f"member {name[:80]!r} points outside the archive")
    if sum(info.file_size for info in infos) > size:
        raise HandOverError("the members claim to be larger than the file; it is damaged")
    return members


def load_plain(data: bytes | Path) -> Any:
    """Unpickle torch.save data that holds tensors and plain containers only; runs no code from it.

    Raises:
        HandOverError: if it holds anything else, or is damaged.
    """
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    read_stored_members(source)
    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"(?:GLOBAL |global )([\w.]+)", str(error))
        what = f" ({refused[1]})" if refused else ""
        raise HandOverError(
            f"a pickle in it holds more than tensors{what}; it is not read, because unpickling "
            "runs code from the file"
        ) from error
    except Exception as error:
        raise HandOverError("a tensor in it is damaged; save the file again") from error


def rebuild_archive(path: Path) -> CheckedArchive:
    """Read, check and rebuild a ``.pt2`` without running anything from it.

    Raises:
        HandOverError: if a member is damaged, missing, or would run code when loaded.
    """
    members = read_stored_members(path)
    with zipfile.ZipFile(path) as archive:
        return _rebuild(_Reader(archive, members))


class _Reader:
    """Members of the archive below its root folder."""

    def __init__(self, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._root = next(iter(members)).split("/")[0] + "/"
        self.names = [
            name.removeprefix(self._root) for name in members if name.startswith(self._root)
        ]

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._root + name)
        except KeyError as error:
            raise HandOverError(f"member '{name}' is missing; save the file again") from error
        except _ZIP_ERRORS as error:
            raise HandOverError(_DAMAGED) from error


def _rebuild(reader: _Reader) -> CheckedArchive:
    name = _find_model(reader)
    if f"{constants.WEIGHTS_DIR}{name}.pt" in reader.names:
        raise HandOverError("it was saved by an older torch; save it again with torch 2.9 or newer")
    buffer = io.BytesIO()
    with PT2ArchiveWriter(buffer) as writer:
        tables = (
            (constants.WEIGHTS_DIR, constants.WEIGHTS_CONFIG_FILENAME_FORMAT),
            (constants.CONSTANTS_DIR, constants.CONSTANTS_CONFIG_FILENAME_FORMAT),
        )
        for folder, table in tables:
            payloads = check_payloads(reader.read(table.format(name)))
            for file, data in _check_records(reader, folder, payloads).items():
                writer.write_bytes(folder + file, data)
            writer.write_string(table.format(_MODEL), json.dumps({"config": payloads}))
        program = check_program(reader.read(constants.MODELS_FILENAME_FORMAT.format(name)))
        writer.write_bytes(constants.MODELS_FILENAME_FORMAT.format(_MODEL), program)
        inputs = reader.read(constants.SAMPLE_INPUTS_FILENAME_FORMAT.format(name))
        if inputs:
            inputs = _check_inputs(inputs)
        writer.write_bytes(constants.SAMPLE_INPUTS_FILENAME_FORMAT.format(_MODEL), inputs)
    return CheckedArchive(buffer.getvalue(), _read_extra(reader), bool(inputs))


def _find_model(reader: _Reader) -> str:
    prefix, suffix = constants.MODELS_FILENAME_FORMAT.split("{}")
    models = [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in reader.names
        if name.startswith(prefix) and name.endswith(suffix)
    ]
    if not models:
        compiled = any(name.startswith(constants.AOTINDUCTOR_DIR) for name in reader.names)
        what = "it holds a compiled library only" if compiled else "it holds no exported program"
        raise HandOverError(f"{what}; hand over what torch.export.save writes")
    if _MODEL not in models and len(models) > 1:
        raise HandOverError(
            f"it holds several models ({', '.join(sorted(models))}); save one of them alone"
        )
    return _MODEL if _MODEL in models else models[0]


def _check_records(reader: _Reader, folder: str, payloads: dict[str, Any]) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    pickled: dict[str, bool] = {}
    for name, payload in payloads.items():
        file = payload["path_name"]
        if not file.startswith(
            (constants.WEIGHT_FILENAME_PREFIX, constants.TENSOR_CONSTANT_FILENAME_PREFIX)
        ):
            raise HandOverError(
                f"'{name}' is a custom object, which cannot be read without running code from the "
                "file; export the model without it"
            )
        if file not in records:
            data = reader.read(folder + file)
            records[file] = _resave_tensor(data, name) if payload["use_pickle"] else data
            pickled[file] = payload["use_pickle"]
        if pickled[file] != payload["use_pickle"]:
            # A record checked as raw numbers must not be unpickled for another weight.
            raise HandOverError(f"weight '{name}' is stored in two ways at once; save it again")
        if not payload["use_pickle"]:
            _check_size(name, payload["tensor_meta"], len(records[file]))
    return records


def _resave_tensor(data: bytes, name: str) -> bytes:
    tensor = load_plain(data)
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        raise HandOverError(f"weight '{name}' is no plain tensor; save the model's weights as such")
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


def _check_size(name: str, meta: dict[str, Any] | None, size_bytes: int) -> None:
    """Refuse shapes that would allocate far more than the file holds."""
    if meta is None:
        raise HandOverError(f"weight '{name}' has no shape; save the file again")
    numbers = [entry.get("as_int", -1) for entry in (*meta["sizes"], *meta["strides"])]
    if min([meta["storage_offset"].get("as_int", -1), *numbers]) < 0:
        raise HandOverError(f"weight '{name}' has a shape that is not fixed; save the file again")
    elements = prod(numbers[: len(meta["sizes"])])
    allowed = max(_FREE_ELEMENTS, _MAX_EXPANSION * size_bytes) if size_bytes else 0
    if elements > allowed:
        raise HandOverError(
            f"weight '{name}' claims {elements} values but {size_bytes} bytes are stored; the file "
            "is damaged"
        )


def _check_inputs(data: bytes) -> bytes:
    inputs = load_plain(data)
    if not (isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], dict)):
        raise HandOverError("the example inputs are malformed; save the file again")
    buffer = io.BytesIO()
    torch.save(inputs, buffer)
    return buffer.getvalue()


def _read_extra(reader: _Reader) -> dict[str, str]:
    extra: dict[str, str] = {}
    for name in reader.names:
        if name.startswith(constants.EXTRA_DIR):
            data = reader.read(name)
            if len(data) <= _MAX_EXTRA_BYTES:
                extra[name.removeprefix(constants.EXTRA_DIR)] = data.decode(errors="replace")
    return extra
