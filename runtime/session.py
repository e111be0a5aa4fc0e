"""Open and run ONNX files in ONNX Runtime: fixed threads, no noise, one-line errors."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from compressc.runtime.budgets import RUN_TIME
from compressc.runtime.engine.library import has_sparse_nodes, register
from compressc.runtime.errors import RuntimeFailure

# The exceptions of ONNX Runtime share no base of their own, and differ between releases.
ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
) + (RuntimeError, ValueError)

_SILENT = 4
_DETAIL_LENGTH = 200

# (what ONNX Runtime says, what it means, what to do), first match wins.
_MEANINGS = (
    (
        r"protobuf parsing failed|no graph was found",
        "not a readable ONNX file (truncated, damaged, or of another format)",
        "export or download it again",
    ),
    (
        r"opset \d+ is under development|unsupported model ir version|is till opset",
        "written for an opset or IR version that onnxruntime {version} does not know",
        "upgrade onnxruntime or export with a lower opset",
    ),
    (
        r"not a registered function/op|no op registered for|is not supported.*custom",
        "uses an operator that onnxruntime {version} lacks ({detail})",
        "register the library that defines it, or export without it",
    ),
    (
        r"external data",
        "its external weights cannot be read ({detail})",
        "put the .data file that was written with it into the same folder",
    ),
    (
        r"could not find an implementation",
        "has a node without a CPU kernel in onnxruntime {version} ({detail})",
        "upgrade onnxruntime or export that node in another type",
    ),
)


def open_session(path: str | Path, threads: int = 1) -> ort.InferenceSession:
    """Open an ONNX file on the CPU.

    Operators run one after the other, each on ``threads`` threads. Worker threads spin while a
    run lasts, for the lowest latency, and stop with it, so that an idle session does not steal
    time from the one being measured.

    Raises:
        RuntimeFailure: if the file is missing, is no ONNX file, or cannot be run here.
    """
    check_file(path)
    return create_session(str(path), str(path), threads)


def create_session(
    model: str | bytes,
    name: str,
    threads: int = 1,
    *,
    optimize: bool = True,
    folder: Path | None = None,
    configure: Callable[[ort.SessionOptions], None] | None = None,
    use_engine: bool = True,
) -> ort.InferenceSession:
    """Open a path or serialised model; ``name`` is what errors call it.

    Args:
        model: a path, or the bytes of a ModelProto.
        name: what errors call the model.
        threads: threads of each operator.
        optimize: False keeps every node of the file as it stands.
        folder: where the external weights of a serialised model lie.
        configure: sets further options.
        use_engine: whether sparse nodes run on compressc's engine where it is installed.

    Raises:
        RuntimeFailure: if ONNX Runtime refuses the model, or ``threads`` is below 1.
    """
    if threads < 1:
        raise RuntimeFailure(f"threads {threads}: must be 1 or more")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder))
    if use_engine and has_sparse_nodes(model):
        register(options)
    if configure is not None:
        configure(options)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise RuntimeFailure(f"{name}: {_explain(error)}") from error


def run_session(
    session: ort.InferenceSession,
    feeds: Mapping[str, NDArray[Any]],
    name: str,
    outputs: list[str] | None = None,
) -> list[Any]:
    """Run a session once and return its outputs.

    Args:
        session: the open model.
        feeds: one array per input.
        name: what errors call the model.
        outputs: names to return; None for all.

    Raises:
        RuntimeFailure: if the run fails, which mostly means made-up input sizes that do not fit,
            or takes longer than the budget.
    """
    limit = RUN_TIME.limit()
    options = ort.RunOptions()
    # Loops in a file may be of any length. ONNX Runtime looks at the flag between two nodes.
    alarm = threading.Timer(limit, setattr, (options, "terminate", True))
    alarm.daemon = True
    alarm.start()
    try:
        return list(session.run(outputs, dict(feeds), options))
    except ORT_ERRORS as error:
        if options.terminate:
            raise RuntimeFailure(
                f"{name}: one run is not over after {limit:g} s; {RUN_TIME.advice}"
            ) from error
        shapes = ", ".join(f"{key} {'x'.join(map(str, a.shape))}" for key, a in feeds.items())
        raise RuntimeFailure(
            f"{name}: does not run on inputs {shapes} ({_one_line(error)}); "
            "give the sizes it expects with --shape NAME=SIZE"
        ) from error
    finally:
        alarm.cancel()


def check_file(path: str | Path) -> None:
    """Check that ``path`` is a file that can be read.

    Raises:
        RuntimeFailure: if it is not.
    """
    path = Path(path)
    if path.is_dir():
        raise RuntimeFailure(f"{path}: is a folder; name an .onnx file in it")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError as error:
        raise RuntimeFailure(f"{path}: no such file; check the path") from error
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise RuntimeFailure(f"{path}: {reason}; check that you may read it") from error
    if empty:
        raise RuntimeFailure(f"{path}: the file is empty; export or download it again")


def _explain(error: Exception) -> str:
    detail = _one_line(error)
    for pattern, meaning, advice in _MEANINGS:
        if re.search(pattern, str(error), re.IGNORECASE):
            return f"{meaning.format(version=ort.__version__, detail=detail)}; {advice}"
    return f"onnxruntime refuses it ({detail}); check it with onnx.checker or export it again"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from .*? failed: ?", "", text)
    text = re.sub(r"/\S+\.(?:cc|h):\d+ ", "", text)
    return text if len(text) <= _DETAIL_LENGTH else text[: _DETAIL_LENGTH - 3] + "..."
