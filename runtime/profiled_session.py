"""A session with ONNX Runtime's own profiler: what each node of the optimised graph took."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import ORT_ERRORS, create_session, run_session

TensorShape = tuple[str, tuple[int, ...]]

_UNREADABLE: tuple[type[Exception], ...] = (*ORT_ERRORS, OSError, KeyError)
_SUFFIX = "_kernel_time"
# Larger tensors are weights; they go to a side file that nobody reads.
_INLINE_BYTES = 1024


@dataclass(frozen=True, eq=False)
class NodeTimes:
    """What one executed node took.

    Attributes:
        name: of the node in the optimised graph.
        run_ms: time in each run, shape (runs,); a node in a loop body is summed over its turns.
        outputs: type and shape of each output that the node has.
    """

    name: str
    run_ms: NDArray[np.float64]
    outputs: tuple[TensorShape, ...]

    @property
    def typical_ms(self) -> float:
        """Time of an undisturbed run; see :func:`undisturbed`."""
        return undisturbed(self.run_ms)


@dataclass(frozen=True, eq=False)
class Recording:
    """What a profiled session found.

    Attributes:
        graph: the optimised graph, without the data of its weights.
        opsets: what its operators mean.
        nodes: times by node name.
    """

    graph: onnx.GraphProto
    opsets: tuple[onnx.OperatorSetIdProto, ...]
    nodes: Mapping[str, NodeTimes]


class ProfiledSession:
    """Runs a model under the profiler; a context manager, since it keeps files meanwhile."""

    def __init__(
        self,
        model: str | bytes,
        name: str,
        threads: int = 1,
        *,
        optimize: bool = True,
        folder: Path | None = None,
    ) -> None:
        """Open a model.

        Args:
            model: a path, or the bytes of a ModelProto whose nodes have names.
            name: what errors call it.
            threads: threads of each operator.
            optimize: False runs every node as it stands; then there is no optimised graph.
            folder: where the external weights of a serialised model lie.

        Raises:
            RuntimeFailure: if ONNX Runtime refuses the model.
        """
        self._files = tempfile.TemporaryDirectory(prefix="compressc-")
        self._name = name
        self._graph = Path(self._files.name) / "optimized.onnx" if optimize else None

        def configure(options: ort.SessionOptions) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._files.name) / "profile")
            if self._graph is not None:
                options.optimized_model_filepath = str(self._graph)
                prefix = "session.optimized_model_external_initializers"
                options.add_session_config_entry(f"{prefix}_file_name", "weights.bin")
                options.add_session_config_entry(f"{prefix}_min_size_in_bytes", str(_INLINE_BYTES))

        try:
            self.session = create_session(
                model, name, threads, optimize=optimize, folder=folder, configure=configure
            )
        except RuntimeFailure:
            self._files.cleanup()
            raise

    def __enter__(self) -> ProfiledSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.cleanup()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Run once.

        Raises:
            RuntimeFailure: if the run fails.
        """
        run_session(self.session, feeds, self._name)

    def finish(self, skip: int = 0) -> Recording:
        """End profiling and return what every run but the first ``skip`` found.

        Raises:
            RuntimeFailure: if the profile cannot be read.
        """
        try:
            written = self.session.end_profiling()
            events = json.loads(Path(written).read_text(encoding="utf-8"))
        except _UNREADABLE as error:
            raise RuntimeFailure(
                f"{self._name}: ONNX Runtime's profile cannot be read ({error}); free space in "
                "the temporary folder and repeat"
            ) from error
        graph, opsets = onnx.GraphProto(), ()
        if self._graph is not None:
            model = onnx.load(str(self._graph), load_external_data=False)
            graph, opsets = model.graph, tuple(model.opset_import)
        return Recording(graph, opsets, _read_events(events, skip))


def undisturbed(times: NDArray[np.float64]) -> float:
    """Return the mean of the times between the first tenth and the fourth.

    On a quiet machine that is within a percent of the median. On a busy one most runs of a long
    kernel are interrupted, and the lower half still tells what it takes. A mean, since the
    profiler's clock ticks in microseconds and a quantile of short times would jump.
    """
    if not times.size:
        return 0.0
    first, last = times.size // 10, max(1, 4 * times.size // 10)
    return float(np.sort(times)[min(first, last - 1) : last].mean())


def _read_events(events: list[dict[str, Any]], skip: int) -> dict[str, NodeTimes]:
    spent: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    shapes: dict[str, tuple[TensorShape, ...]] = {}
    run = 0
    for event in events:
        if event.get("name") == "model_run":
            run += 1
        elif event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            if run >= skip:
                spent[name][run] += event["dur"] * 1e-3
            if name not in shapes:
                shapes[name] = _shapes(event.get("args", {}).get("output_type_shape", ()))
    return {
        name: NodeTimes(name, np.array(list(runs.values())), shapes[name])
        for name, runs in spent.items()
    }


def _shapes(listed: Any) -> tuple[TensorShape, ...]:
    return tuple(
        (str(kind), tuple(int(size) for size in shape))
        for entry in listed
        for kind, shape in entry.items()
    )
