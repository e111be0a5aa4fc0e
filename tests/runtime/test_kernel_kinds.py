"""Kinds and widths of kernels, their width grids, and the models that run them alone."""

import numpy as np
import pytest

from compressc.runtime.cell_models import Cell, build_cells, can_build
from compressc.runtime.kernel_kinds import KernelKind, classify
from compressc.runtime.optimized_graph import Kernel, Operand
from compressc.runtime.session import create_session
from compressc.runtime.width_grid import grid

OPSETS = {"": 18, "com.microsoft.nchwc": 1}
BLOCKED = "com.microsoft.nchwc."


def kernel(op, operands, outputs=("y",), **attributes):
    return Kernel(
        name="k",
        op=op,
        attributes=tuple(sorted(attributes.items())),
        operands=tuple(operands),
        results=(),
        inputs=tuple(f"i{n}" if operand else "" for n, operand in enumerate(operands)),
        outputs=outputs,
    )


def fed(*shape, kind="float"):
    return Operand(kind, shape, False)


def stored(*shape, kind="float", data=None):
    return Operand(kind, shape, True, data)


def conv(inputs, outputs, groups=1, op=f"{BLOCKED}Conv", total=None, **attributes):
    operands = [fed(1, inputs, 8, 8), stored(outputs, inputs // groups, 3, 3), stored(outputs)]
    if total:
        operands.append(fed(1, outputs, 8, 8))
    return kernel(op, operands, group=groups, pads=(1, 1, 1, 1), kernel_shape=(3, 3), **attributes)


def kind_of(one):
    found = classify(one, OPSETS)
    assert found is not None
    return found


def test_convolutions_that_differ_in_channels_are_of_one_kind():
    narrow, wide = kind_of(conv(16, 32)), kind_of(conv(64, 48))
    assert narrow[0] == wide[0]
    assert (narrow[1], wide[1]) == ((16, 32), (64, 48))
    assert wide[0].variables == ("in", "out")
    assert wide[0].shapes((16, 32)) == ((1, 16, 8, 8), (32, 16, 3, 3), (32,))


def test_what_is_fused_and_the_picture_make_another_kind():
    plain = kind_of(conv(16, 16))[0]
    assert kind_of(conv(16, 16, total=True))[0] != plain
    assert kind_of(conv(16, 16, activation="Relu"))[0] != plain
    assert kind_of(conv(16, 16, op="Conv"))[0] != plain
    larger = kernel(f"{BLOCKED}Conv", [fed(1, 16, 9, 9), stored(16, 16, 3, 3), stored(16)], group=1)
    assert kind_of(larger)[0] != plain


def test_depthwise_convolutions_have_one_width_and_as_many_groups():
    kind, widths = kind_of(conv(32, 32, groups=32))
    assert (kind.variables, widths) == (("c",), (32,))
    assert kind.shapes((48,)) == ((1, 48, 8, 8), (48, 1, 3, 3), (48,))
    assert kind.bound_attributes((48,))["group"] == 48


def test_grouped_convolutions_keep_their_groups():
    kind, widths = kind_of(conv(32, 64, groups=4))
    assert widths == (32, 64)
    assert kind.shapes((16, 64))[1] == (64, 4, 3, 3)
    assert kind.bound_attributes((16, 64))["group"] == 4


@pytest.mark.parametrize("transposed", [0, 1])
def test_matrix_products(transposed):
    weight = stored(10, 32) if transposed else stored(32, 10)
    kind, widths = kind_of(kernel("Gemm", [fed(1, 32), weight, stored(10)], transB=transposed))
    assert widths == (32, 10)
    assert kind.shapes((16, 10))[1] == ((10, 16) if transposed else (16, 10))


def test_two_activations_multiplied_are_taken_as_they_are():
    kind, widths = kind_of(kernel("MatMul", [fed(1, 4, 8, 16), fed(1, 4, 16, 8)]))
    assert (kind.variables, widths) == ((), ())


def test_concatenations_share_their_channels_out():
    kind, widths = kind_of(kernel("Concat", [fed(1, 24, 8, 8), fed(1, 12, 8, 8)], axis=1))
    assert (kind.variables, widths) == (("c",), (36,))
    assert kind.shapes((25,)) == ((1, 13, 8, 8), (1, 12, 8, 8))


def test_per_channel_parameters_follow_the_channels():
    operands = [fed(1, 36, 8, 8), *[stored(36)] * 4]
    kind, widths = kind_of(kernel("BatchNormalization", operands))
    assert widths == (36,)
    assert kind.shapes((12,)) == ((1, 12, 8, 8), *[(12,)] * 4)
    reorder, widths = kind_of(kernel(f"{BLOCKED}ReorderOutput", [fed(1, 16, 8, 8)], channels=12))
    assert (widths, reorder.bound_attributes((32,))["channels"]) == ((16,), 32)


def test_kernels_that_cannot_run_alone_have_no_kind():
    assert classify(kernel("Relu", [fed(2, kind="string")]), OPSETS) is None
    assert classify(kernel("Relu", []), OPSETS) is None
    unknown = Kernel("k", "Relu", (), (None,), (), ("x",), ("y",))
    assert classify(unknown, OPSETS) is None
    branch = Kernel("k", "If", (), (fed(1, kind="bool"),), (), ("c",), ("y",), opaque=True)
    assert classify(branch, OPSETS) is None


def test_keys_survive():
    for one in (conv(16, 32, total=True, activation="Relu"), conv(8, 8, groups=8)):
        kind = kind_of(one)[0]
        assert KernelKind.from_key(kind.key) == kind
        assert KernelKind.from_key(kind.key).key == kind.key
    amounts = kernel("Pad", [fed(1, 16, 8, 8), stored(2, kind="int64", data=(3, 4))], mode="edge")
    kind = kind_of(amounts)[0]
    assert KernelKind.from_key(kind.key).operands[1].data == (3, 4)


def test_the_grid_steps_by_blocks_and_leaves_the_picture_alone():
    kind = kind_of(conv(64, 96))[0]
    cells = grid(kind, (64, 96), 16)
    # Fewer input channels than a block come in another layout, and are measured as well.
    assert sorted({w[0] for w in cells}) == [4, 8, 12, 16, 32, 48, 64]
    assert sorted({w[1] for w in cells}) == [16, 32, 48, 64, 80, 96]
    assert len(cells) == 42
    assert sorted({w[0] for w in grid(kind, (80, 96), 16)})[0] == 16
    assert {w[0] for w in grid(kind, (3, 32), 16)} == {3}
    assert max(grid(kind, (2048, 512), 16)) == (2048, 512)
    # 40 channels are three blocks, the last not full.
    reorder = kind_of(kernel(f"{BLOCKED}ReorderInput", [fed(1, 40, 8, 8)]))[0]
    assert grid(reorder, (40,), 16) == [(16,), (32,), (40,)]


def test_the_grid_of_other_kernels_is_coarse_and_respects_groups():
    relu = kind_of(kernel("Relu", [fed(1, 100, 8, 8)]))[0]
    assert grid(relu, (100,), 16) == [(16,), (48,), (64,), (100,)]
    grouped = kind_of(conv(64, 64, groups=32, op="Conv"))[0]
    assert all(inputs % 32 == 0 for inputs, _ in grid(grouped, (64, 64), 16))
    joined = kind_of(kernel("Concat", [fed(1, 2, 8, 8)] * 3, axis=1))[0]
    assert all(total >= 3 for (total,) in grid(joined, (6,), 1))
    fixed = kind_of(kernel("MatMul", [fed(1, 4, 8, 16), fed(1, 4, 16, 8)]))[0]
    assert grid(fixed, (), 16) == [()]


def test_cells_run_in_the_runtime_and_compute_the_shapes_they_say():
    kinds = [
        (kind_of(conv(16, 32, total=True, activation="Relu"))[0], (32, 16)),
        (kind_of(conv(32, 32, groups=32))[0], (16,)),
        (kind_of(kernel("Gemm", [fed(1, 32), stored(10, 32), stored(10)], transB=1))[0], (16, 10)),
        (kind_of(kernel("Concat", [fed(1, 24, 8, 8), fed(1, 12, 8, 8)], axis=1))[0], (20,)),
        (kind_of(kernel(f"{BLOCKED}ReorderOutput", [fed(1, 16, 8, 8)], channels=16))[0], (32,)),
        (
            kind_of(
                kernel(
                    "Pad",
                    [fed(1, 16, 8, 8), stored(8, kind="int64", data=(0, 2, 0, 0, 0, 2, 0, 0))],
                )
            )[0],
            (),
        ),
    ]
    cells = [Cell(kind, widths) for kind, widths in kinds]
    assert all(can_build(kind) for kind, _ in kinds)
    model = build_cells(cells)
    assert len(set(model.names)) == len(cells)
    session = create_session(model.serialized, "cells", optimize=False)
    shapes = [list(map(int, shape)) for shape in session.run(None, model.feeds)]
    assert shapes == [
        [1, 16, 8, 8],
        [1, 16, 8, 8],
        [1, 10],
        [1, 20, 8, 8],
        [1, 32, 8, 8],
        [1, 20, 8, 8],
    ]
    assert all(np.isfinite(array).all() for array in model.feeds.values())


def test_types_that_numpy_lacks_are_left_out():
    assert not can_build(kind_of(kernel("Relu", [fed(2, 3, kind="bfloat16")]))[0])
