"""Cost tables: interpolation, merging, keeping, and measuring a real network."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

from compressc.runtime.cost_measuring import measure_cells, new_table, wanted_cells
from compressc.runtime.cost_prediction import predict
from compressc.runtime.cost_store import (
    cache_path,
    export_table,
    keep_table,
    load_table,
    table_for,
)
from compressc.runtime.cost_table import CostTable
from compressc.runtime.errors import RuntimeFailure
from compressc.runtime.kernel_kinds import KernelKind, OperandForm
from compressc.runtime.kernel_list import KernelList, ListedKernel, list_kernels
from compressc.runtime.machine import describe_machine

CONV = KernelKind(
    "com.microsoft.nchwc.Conv",
    0,
    (("group", 1),),
    (
        OperandForm("float", (1, "in", 8, 8), False),
        OperandForm("float", ("out", "in", 3, 3), True),
    ),
    (True,),
    ("in", "out"),
)
RELU = KernelKind("Relu", 18, (), (OperandForm("float", (1, "c", 8, 8), False),), (True,), ("c",))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def table(cells):
    return CostTable(describe_machine(), 1, 16, node_ms=0.0002, call_ms=0.005, cells=cells)


def bilinear(inputs, outputs):
    return 0.01 + 0.001 * inputs + 0.002 * outputs + 0.0003 * inputs * outputs


def conv_table():
    levels = [(i, o) for i in (16, 32, 64) for o in (16, 48, 64)]
    return table({CONV: {(i, o): bilinear(i, o) for i, o in levels}})


@pytest.mark.parametrize("widths", [(16, 16), (48, 32), (32, 48), (64, 64)])
def test_between_measured_widths_latency_is_interpolated(widths):
    assert conv_table().latency_ms(CONV, widths) == pytest.approx(bilinear(*widths))


def test_blocked_kernels_are_looked_up_at_whole_blocks():
    one = conv_table()
    assert one.latency_ms(CONV, (33, 48)) == pytest.approx(bilinear(48, 48))
    assert one.latency_ms(CONV, (32, 49)) == pytest.approx(bilinear(32, 64))
    picture = table({CONV: {(3, 16): 0.4, (3, 32): 0.5}})
    assert picture.latency_ms(CONV, (3, 32)) == 0.5


def test_beyond_measured_widths_the_last_slope_goes_on_but_nothing_is_free():
    one = table({RELU: {(16,): 0.1, (32,): 0.2}})
    assert one.latency_ms(RELU, (64,)) == pytest.approx(0.4)
    assert one.latency_ms(RELU, (24,)) == pytest.approx(0.15)
    assert table({RELU: {(16,): 0.1}}).latency_ms(RELU, (8,)) == pytest.approx(0.05)
    steep = table({RELU: {(16,): 0.1, (32,): 0.3}})
    assert steep.latency_ms(RELU, (1,)) == steep.node_ms


def test_a_kind_at_another_picture_size_is_scaled_and_others_are_unknown():
    small = replace(RELU, operands=(OperandForm("float", (1, "c", 4, 4), False),))
    one = table({RELU: {(16,): 0.1002}})
    assert one.latency_ms(small, (16,)) == pytest.approx(0.0252)
    assert one.latency_ms(CONV, (16, 16)) is None


def test_tables_survive_json():
    listing = KernelList(
        (ListedKernel("l", "l.weight", RELU, (16,), ("x",), ("y",), 12, 0.5),), {"p50": 1.0}
    )
    one = replace(conv_table(), networks={"n": listing}, taken_at="2026", quiet=False)
    again = CostTable.from_json(one.to_json())
    assert again.cells == {CONV: pytest.approx(one.cells[CONV])}
    assert again.networks["n"].kernels == listing.kernels
    assert (again.machine, again.threads, again.quiet) == (one.machine, 1, False)
    assert again.latency_ms(CONV, (48, 32)) == pytest.approx(bilinear(48, 32), abs=1e-6)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": "other"}'])
def test_documents_that_are_no_tables(text):
    with pytest.raises(RuntimeFailure, match="not a cost table") as caught:
        CostTable.from_json(text)
    assert "\n" not in str(caught.value)


def test_merging_keeps_both_and_refuses_other_machines():
    one, other = table({RELU: {(16,): 0.1, (32,): 0.2}}), table({RELU: {(32,): 0.3}, CONV: {}})
    assert one.merged(other).cells[RELU] == {(16,): 0.1, (32,): 0.3}
    foreign = replace(other, machine=replace(other.machine, cpu_model="other"))
    with pytest.raises(RuntimeFailure, match="does not continue"):
        one.merged(foreign)
    with pytest.raises(RuntimeFailure, match="does not continue"):
        one.merged(replace(other, threads=2))
    with pytest.raises(RuntimeFailure, match="measure what it lacks there"):
        measure_cells(foreign, [(RELU, (16,))])


@pytest.mark.slow
def test_what_is_kept_is_found_again_and_nothing_of_others_is_lost():
    assert load_table(1).size == 0
    assert keep_table(table({RELU: {(16,): 0.1}}))
    assert keep_table(table({RELU: {(32,): 0.2}}))
    assert load_table(1).cells[RELU] == {(16,): 0.1, (32,): 0.2}
    assert load_table(2).size == 0
    assert [path.name for path in cache_path(1).parent.iterdir()] == [cache_path(1).name]


def test_damaged_and_foreign_files_in_the_cache_are_measured_anew():
    cache_path(1).parent.mkdir(parents=True)
    cache_path(1).write_text("{")
    assert load_table(1).size == 0
    foreign = table({RELU: {(16,): 0.1}})
    foreign = replace(foreign, machine=replace(foreign.machine, cpu_model="other"))
    cache_path(1).write_text(foreign.to_json())
    assert load_table(1).size == 0


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not keep_table(table({RELU: {(16,): 0.1}}))


def weights(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def network(build, path, width):
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["c1"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="a_relu"),
        helper.make_node("Conv", ["r1", "b.weight"], ["c2"], name="b", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"], name="sum"),
        helper.make_node("GlobalAveragePool", ["s"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "h.weight"], ["y"], name="h"),
    ]
    tensors = {
        "a.weight": weights(width, 3, 3, 3),
        "b.weight": weights(width, width, 3, 3),
        "h.weight": weights(width, 10),
    }
    onnx.save(build(nodes, {"x": ["batch", 3, 8, 8]}, tensors), path)
    return path


def test_a_network_is_measured_once_and_predicted(build, tmp_path):
    kernels = list_kernels(network(build, tmp_path / "wide.onnx", 48))
    assert {k.weight for k in kernels.kernels if k.macs} == {"a.weight", "b.weight", "h.weight"}
    assert set(kernels.latency_ms) == {"p50", "p90", "p99"}
    seen = []
    first = table_for(kernels, progress=lambda *report: seen.append(report))
    assert seen[0][1] >= 1
    assert first.missing(wanted_cells(kernels, first.block)) == []
    again = table_for(kernels, progress=lambda *_: pytest.fail("measured again"))
    assert again.cells == {
        kind: pytest.approx(cells, abs=1e-6) for kind, cells in first.cells.items()
    }

    whole = predict(first, kernels)
    assert whole.unknown_ms == 0
    assert whole.latency_ms == pytest.approx(
        first.call_ms + sum(first.latency_ms(k.kind, k.widths) for k in kernels.kernels)
    )
    # A pruned form is made of the same kinds, so that nothing new has to be measured.
    pruned = list_kernels(network(build, tmp_path / "narrow.onnx", 16))
    smaller = predict(first, pruned)
    assert smaller.unknown_ms == 0
    # Widths between those that were measured are interpolated; which these are is a matter of the
    # machine's block. Only what has no channels to vary is of a new kind, and scaled.
    assert {kind.op for kind in pruned.most if kind not in first.cells} == {"Flatten"}


def blocked_and_plain(width):
    """Return a blocked convolution and a matrix product, each with its widths."""
    product = KernelKind(
        "Gemm",
        18,
        (),
        (OperandForm("float", (1, "in"), False), OperandForm("float", ("in", 10), True)),
        (True,),
        ("in",),
    )
    return [(CONV, (width, width)), (product, (width,))]


@pytest.mark.parametrize(("block", "missing"), [(8, ["Gemm"]), (16, [])])
def test_which_widths_are_measured_is_a_matter_of_the_block(block, missing):
    listed = [
        ListedKernel(kind.op, "", kind, widths, ("x",), ("y",), 1, 0.5)
        for kind, widths in blocked_and_plain(48)
    ]
    cells = {}
    for kind, widths in wanted_cells(KernelList(tuple(listed)), block):
        cells.setdefault(kind, {})[widths] = float(sum(widths))
    measured = replace(table(cells), block=block)
    assert [kind.op for kind, _ in measured.missing(blocked_and_plain(16))] == missing
    for kind, widths in blocked_and_plain(16):
        assert measured.latency_ms(kind, widths) == pytest.approx(sum(widths))


def test_kernels_that_cannot_be_run_alone_count_with_what_they_took(small_conv):
    kernels = list_kernels(small_conv)
    opaque = replace(kernels.kernels[0], kind=None, widths=(), own_ms=7.0)
    found = predict(new_table(), KernelList((opaque,)))
    assert found.unknown_ms == 7.0
    assert found.latency_ms == pytest.approx(7.0, abs=0.5)


def test_what_the_runtime_refuses_is_left_out_and_the_rest_is_measured():
    refused = replace(RELU, op="com.microsoft.NoSuchOp", opset=0)
    found = measure_cells(new_table(), [(RELU, (16,)), (refused, (16,)), (RELU, (32,))])
    assert set(found.cells) == {RELU}
    assert set(found.cells[RELU]) == {(16,), (32,)}
    assert all(ms >= found.node_ms for ms in found.cells[RELU].values())
    assert found.taken_at


@pytest.mark.slow
def test_an_exported_table_holds_one_network_only(build, tmp_path):
    keep_table(table({CONV: {(16, 16): 1.0}}))
    path = network(build, tmp_path / "n.onnx", 16)
    exported = export_table(path)
    assert list(exported.networks) == ["n.onnx"]
    assert CONV not in exported.cells
    document = json.loads(exported.to_json())
    assert document["machine"]["digest"] == describe_machine().digest
    assert predict(exported, exported.networks["n.onnx"]).unknown_ms == 0
