"""Model hand-over: from a file to a Program."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, jit, nn

from compressc.errors import CompresscError, HandOverError
from compressc.frontend.architecture import (
    build_for,
    check_stated_size,
    find_factory,
    importable_folder,
)
from compressc.frontend.archive import load_archive
from compressc.frontend.checkpoint import Checkpoint, read_checkpoint
from compressc.frontend.file_kind import FileKind, detect_kind
from compressc.frontend.hugging_face import is_model_folder, read_folder
from compressc.frontend.input_shape import (
    Shape,
    infer_input_shape,
    make_example_inputs,
    normalize_shapes,
)
from compressc.frontend.number_types import in_float32
from compressc.frontend.onnx_import.importing import import_file
from compressc.frontend.soundness import check_form
from compressc.frontend.state_fit import align_names, load_state
from compressc.frontend.stated_normalization import normalization_of
from compressc.frontend.tracing import capture, capture_sequences
from compressc.models.registry import architectures
from compressc.program import HistoryLine, Program
from compressc.runtime.plain_text import printable


@dataclass(frozen=True)
class _Request:
    """What the user says beside the file; see :func:`load`."""

    arch: str | None
    arch_kwargs: Mapping[str, Any]
    shapes: tuple[Shape, ...] | None
    trust_pickle: bool
    batch: int
    seed: int
    key: str | None = None


def load(
    path: str | Path,
    *,
    arch: str | None = None,
    arch_kwargs: Mapping[str, Any] | None = None,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    trust_pickle: bool = False,
    batch: int = 2,
    seed: int = 0,
    key: str | None = None,
) -> Program:
    """Load a trained model from a file; the kind of file is told by its content.

    Accepted are ``.pt2`` archives of ``torch.export.save`` or :meth:`Program.save`, ONNX files
    (whose networks are proven equal to them in ONNX Runtime), state dicts (``torch.save`` or
    safetensors; also inside a training checkpoint, with the prefixes of data parallel and
    ``torch.compile``, or saved on a GPU), folders of Hugging Face transformers (where that is
    installed) and, if trusted, pickled modules. No code from the file runs unless
    ``trust_pickle``. A model in half or double precision is loaded as one in float32, with a note.

    Args:
        path: the model file.
        arch: for a state dict, an architecture of ``compressc.models`` by name, one of a library
            (``timm:resnet18``, ``torchvision:resnet18``, ``ultralytics:yolo11n.yaml``), or
            ``module:factory`` (the current folder is searched too). A checkpoint that names one of
            our architectures under ``arch`` needs none.
        arch_kwargs: arguments of the factory.
        input_shape: one example without the batch axis, such as (3, 224, 224), or one such shape
            per input. Needed where neither file nor architecture tells it.
        trust_pickle: unpickle whole modules, which runs code that the file names.
        batch: batch size of the example inputs; 2 or more keeps the batch size dynamic.
        seed: seed of the example inputs, which are standard normal (indices for embeddings).
        key: which entry of a checkpoint holds the weights, where there are several (an average,
            the networks of a GAN).

    Returns:
        The captured model, with a "load" step in its history.

    Raises:
        HandOverError: if the file or the example input cannot be used.
        CaptureError: if the model cannot be captured by ``torch.export``.
    """
    path = Path(path)
    shapes = normalize_shapes(input_shape) if input_shape is not None else None
    request = _Request(arch, dict(arch_kwargs or {}), shapes, trust_pickle, batch, seed, key)
    try:
        if is_model_folder(path):
            return _checked(_load_folder(path, request))
        kind = detect_kind(path)
        if kind is FileKind.EXPORTED:
            return _checked(_load_exported(path, request))
        if kind is FileKind.ONNX:
            return _load_onnx(path, request)
        # torch warns about storage classes of old files, which the user cannot change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = read_checkpoint(path, kind, trust_pickle=trust_pickle, key=key)
        return _checked(_load_checkpoint(path, checkpoint, request))
    except CompresscError as error:
        # Everything below speaks about "it"; the file is named once, here. Names from a hostile
        # file may hold line ends or terminal codes.
        raise type(error)(printable(" ".join(f"{path}: {error}".splitlines()))) from error


def _checked(program: Program) -> Program:
    """Return the program in float32, unless the file states an unusable normalisation."""
    normalization_of(program)
    return in_float32(program)


def _load_folder(path: Path, request: _Request) -> Program:
    if request.arch is not None:
        raise HandOverError("the folder's config.json names the architecture; leave out --arch")
    loaded = read_folder(path, shapes=request.shapes, batch=request.batch, seed=request.seed)
    program = capture_sequences(loaded.module, loaded.inputs, loaded.names, loaded.sequence_axes)
    settings = {
        "file": path.name,
        "arch": loaded.class_name,
        "input_shape": [list(tensor.shape[1:]) for tensor in loaded.inputs],
    }
    return replace(program, history=(HistoryLine("load", settings), *program.history))


def _load_exported(path: Path, request: _Request) -> Program:
    if request.arch is not None:
        raise HandOverError("an exported program carries its architecture; leave out --arch")
    return load_archive(path, shapes=request.shapes, batch=request.batch, seed=request.seed)


def _load_onnx(path: Path, request: _Request) -> Program:
    if request.arch is not None:
        raise HandOverError("an ONNX file carries its network; leave out --arch")
    return import_file(path, shapes=request.shapes, batch=request.batch, seed=request.seed)


def _load_checkpoint(path: Path, checkpoint: Checkpoint, request: _Request) -> Program:
    notes: tuple[str, ...] = ()
    if checkpoint.module is not None:
        module = _unwrap(checkpoint.module)
    else:
        module, notes = _build(checkpoint, request)
    shapes = request.shapes or _known_shapes(checkpoint, request) or infer_input_shape(module)
    inputs = make_example_inputs(shapes, batch=request.batch, seed=request.seed, module=module)
    with importable_folder():
        program = capture(module, inputs)
    settings: dict[str, Any] = {
        "file": path.name,
        "arch": request.arch or checkpoint.arch or type(module).__name__,
        "input_shape": [list(shape) for shape in shapes],
    }
    if checkpoint.normalization is not None:
        settings["normalization"] = dict(checkpoint.normalization)
    line = HistoryLine("load", settings, notes=(*checkpoint.notes, *notes))
    return replace(program, history=(line, *program.history))


def _build(checkpoint: Checkpoint, request: _Request) -> tuple[nn.Module, tuple[str, ...]]:
    if request.arch is not None:
        factory = find_factory(request.arch)
    elif checkpoint.arch is not None:
        factory = find_factory(checkpoint.arch, named_by_file=True)
    else:
        raise HandOverError(
            "a state_dict that does not name its architecture; pass --arch with a name from "
            "compressc.models, or --arch module:factory"
        )
    same = request.arch is None or request.arch == checkpoint.arch
    kwargs = {**(checkpoint.arch_kwargs if same else {}), **request.arch_kwargs}

    def rename(module: nn.Module) -> Mapping[str, Tensor]:
        return align_names(checkpoint.state, module).state

    for name, tensor in checkpoint.state.items():
        check_form(name, tensor)
    if request.arch is None:
        check_stated_size(factory, kwargs, checkpoint.state)
    module = build_for(factory, kwargs, rename)
    aligned = align_names(checkpoint.state, module)
    load_state(module, aligned.state)
    return module, aligned.notes


def _known_shapes(checkpoint: Checkpoint, request: _Request) -> tuple[Shape, ...] | None:
    if checkpoint.input_shape is not None:
        return normalize_shapes(checkpoint.input_shape)
    if checkpoint.module is not None:
        return None
    named = (request.arch or checkpoint.arch or "").strip().lower().replace("-", "_")
    known = architectures().get(named)
    return (known.input_shape,) if known is not None else None


def _unwrap(module: nn.Module) -> nn.Module:
    """Return the module inside data parallel and ``torch.compile``."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        else:
            inner = getattr(module, "_orig_mod", module)
        if inner is module or not isinstance(inner, nn.Module):
            break
        module = inner
    if isinstance(module, jit.ScriptModule):
        raise HandOverError("a TorchScript module; hand over the nn.Module it was made from")
    return module
