"""Inputs that once ended in a defect, in a crash, or not at all: each is one clear line now."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

import compressc
from compressc.errors import DataError, HandOverError
from compressc.frontend.archive import save
from compressc.models.registry import build
from compressc.passes.reconstruction.elimination import eliminate, make_consumer
from compressc.passes.reconstruction.least_squares import damping
from compressc.program import HistoryLine
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.session import open_session, run_session
from tests.fuzz.right_files import images, npz, tiny_module, tiny_program, write_onnx
from tests.fuzz.sandbox import command, judge, run_in_child

Change = Callable[[dict[str, Any]], object]


def lenet_state() -> dict[str, Tensor]:
    return build("lenet300_100").state_dict()


def itself() -> dict[str, object]:
    content: dict[str, object] = {}
    content["state_dict"] = content
    return content


def lenet(**said: object) -> dict[str, object]:
    return {"arch": "lenet300_100", "state_dict": lenet_state(), **said}


def with_first(change: Callable[[Tensor], Tensor]) -> dict[str, object]:
    state = lenet_state()
    name = next(iter(state))
    return lenet(state_dict={**state, name: change(state[name])})


CHECKPOINTS: dict[str, tuple[Callable[[], object], str]] = {
    "a network of billions": (
        lambda: lenet(arch_kwargs={"num_classes": 2 * 10**7}),
        "do not belong together",
    ),
    "an input of gigabytes": (lambda: lenet(input_shape=(1, 28000, 28000)), "GB of memory"),
    "an input beyond any word": (lambda: lenet(input_shape=(1, 2**63, 28)), "GB of memory"),
    "a dictionary that holds itself": (itself, "holds no state_dict"),
    "a mean of NaN": (
        lambda: lenet(normalization={"mean": [float("nan")], "std": [1.0]}),
        "must be finite numbers",
    ),
    "a deviation of 0": (
        lambda: lenet(normalization={"mean": [0.1], "std": [0.0]}),
        "must be above 0",
    ),
    "no deviation": (lambda: lenet(normalization={"mean": [0.1]}), "no 'std'"),
    "a tensor without data": (lambda: with_first(lambda t: t.to("meta")), "has no data"),
    "a sparse tensor": (lambda: with_first(lambda t: t.to_sparse()), "call to_dense()"),
    "a nested tensor": (
        lambda: with_first(lambda t: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
        "is a nested tensor",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(kind: str, tmp_path: Path) -> None:
    make, said = CHECKPOINTS[kind]
    torch.save(make(), tmp_path / "model.pt")
    outcome = run_in_child(command("inspect", "model.pt"), tmp_path)
    assert judge(outcome, tmp_path) == ""
    assert outcome.code == 10
    assert said in outcome.err


def test_a_checkpoint_that_says_the_right_things_comes_in(tmp_path: Path) -> None:
    right = lenet(
        arch_kwargs={"num_classes": 10},
        input_shape=(1, 28, 28),
        normalization={"mean": [0.1], "std": [0.3]},
    )
    torch.save(right, tmp_path / "model.pt")
    assert run_in_child(command("inspect", "model.pt"), tmp_path).code == 0


def test_a_variance_below_0_is_refused() -> None:
    module = tiny_module()
    variance = module[1].running_var
    try:
        variance[2] = -1.0
        with pytest.raises(HandOverError, match=r"'1.running_var' holds a variance of -1"):
            compressc.capture(module, (torch.randn(2, 3, 8, 8),))
    finally:
        variance[2] = 1.0


def test_units_leave_whatever_the_numbers_are() -> None:
    weights, covariance = torch.full((2, 4), float("nan")), torch.eye(4, dtype=torch.float64)
    units = np.arange(4)
    consumer = make_consumer(weights, covariance, units[:, None], units, 1e-3)
    # It used to pick units that had left already, for ever.
    assert sorted(eliminate([consumer], 4).argsort()) == [0, 1, 2, 3]


def test_a_closed_form_refuses_what_is_no_number() -> None:
    with pytest.raises(DataError, match="not finite"):
        damping(torch.tensor([1.0, float("nan")]), 1e-3)


def test_a_label_of_a_billion_names_no_classes(tmp_path: Path) -> None:
    write_onnx(tmp_path)
    labels = np.arange(64) % 4
    labels[7] = 10**9
    (tmp_path / "data.npz").write_bytes(npz(images=images(), labels=labels))
    words = ("compress", "model.pt2", "--data", "data.npz", "--target-params", "0.6")
    outcome = run_in_child(command(*words, "-o", "out.onnx"), tmp_path)
    assert judge(outcome, tmp_path) == ""
    assert outcome.code == 11
    assert "holds the label 1000000000" in outcome.err


NOTES: dict[str, Change] = {
    "multiple of 0": lambda note: note["constraints"].update(multiple_of=0),
    "multiple below 0": lambda note: note["constraints"].update(multiple_of=-8),
    "multiple of no layer": lambda note: note["constraints"].update(multiple_of=10**18),
    "multiple of infinity": lambda note: note["constraints"].update(multiple_of=float("inf")),
    "statistics of any text": lambda note: note["constraints"].update(statistics="x"),
    "axis 99": lambda note: note.update(dynamic_axes=[{"99": "batch"}]),
    "an axis in other digits": lambda note: note.update(dynamic_axes=[{"\u0660": "batch"}]),
    "names with codes": lambda note: note.update(input_names=["\x1b[31mx"]),
    "time without end": lambda note: note["history"][0].update(seconds=float("inf")),
}


@pytest.mark.parametrize("kind", NOTES)
def test_notes_in_archives(kind: str, tmp_path: Path) -> None:
    save(tiny_program().with_line(HistoryLine("x")), tmp_path / "right.pt2")
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(tmp_path / "right.pt2") as right,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wrong,
    ):
        for entry in right.infolist():
            content = right.read(entry)
            if entry.filename.endswith("compressc.json"):
                note = json.loads(content)
                NOTES[kind](note)
                content = json.dumps(note).encode()
            wrong.writestr(entry, content)
    (tmp_path / "wrong.pt2").write_bytes(buffer.getvalue())
    assert compressc.load(tmp_path / "right.pt2").input_names
    with pytest.raises(HandOverError, match=r"compressc\.json") as caught:
        compressc.load(tmp_path / "wrong.pt2")
    assert str(caught.value).isprintable()


def endless() -> onnx.ModelProto:
    """A loop of 2^62 rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["before", "before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [
            helper.make_tensor("rounds", TensorProto.INT64, [], [2**62]),
            helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_loop_without_end_has_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(endless(), tmp_path / "endless.onnx")
    monkeypatch.setenv("COMPRESSC_RUN_SECONDS", "0.5")
    session = open_session(tmp_path / "endless.onnx")
    with pytest.raises(RuntimeFailure, match=r"not over after 0.5 s; set COMPRESSC_RUN_SECONDS"):
        run_session(session, {"x": np.ones(1, np.float32)}, "endless.onnx")
    outcome = run_in_child(command("bench", "endless.onnx", "--seconds", "0.2"), tmp_path)
    assert judge(outcome, tmp_path) == ""
    assert "COMPRESSC_RUN_SECONDS" in outcome.err


def test_made_up_inputs_have_a_budget(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10**6, 10**6])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10**6, 10**6])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "large", [value], [other])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx")
    outcome = run_in_child(command("bench", "a.onnx"), tmp_path)
    assert judge(outcome, tmp_path) == ""
    assert "GB of memory" in outcome.err
