"""Cases of operations that pick, sort, transform or reorder positions."""

from __future__ import annotations

from typing import Any

import torch

from tests.graph_kit import Kit, aten
from tests.rule_cases.catalogue import case


def _flat(kit: Kit, name: str, channels: int = 8) -> Any:
    return aten.flatten.using_ints(kit.source(name, channels), 2)


@case(aten.index_select.default)
def choose_channels(kit: Kit, op: Any) -> Any:
    order = kit.buffer("order", torch.tensor([3, 0, 7, 1, 2, 6, 5, 4, 3]))
    return kit.read("r", op(kit.source("a"), 1, order), 9)


@case(aten.index_select.default)
def choose_rows(kit: Kit, op: Any) -> Any:
    order = kit.buffer("order", torch.tensor([3, 0, 5]))
    return kit.read("r", op(kit.source("a"), 2, order), 8)


@case(aten.index.Tensor)
def index_channels(kit: Kit, op: Any) -> Any:
    order = kit.buffer("order", torch.tensor([3, 0, -1, 1, 2]))
    return kit.read("r", op(kit.source("a"), [None, order]), 5)


@case(aten.index.Tensor)
def index_space(kit: Kit, op: Any) -> Any:
    rows = kit.buffer("rows", torch.tensor([[0, 1], [5, 2]]))
    columns = kit.buffer("columns", torch.tensor([3, 4]))
    return kit.read("r", op(kit.source("a"), [None, None, rows, columns]), 8)


@case(aten.index.Tensor, prunes=("b",), pins=("a",))
def index_channels_at_run_time(kit: Kit, op: Any) -> Any:
    places = kit.input("places", torch.tensor([[1], [0], [5]]))
    picked = op(kit.source("a"), [None, aten.select.int(places, 1, 0)])
    return aten.mean.dim(picked, [1]), kit.read("s", kit.source("b"), 8)


@case(aten.index_put.default, aten.index_put_.default)
def write_rows(kit: Kit, op: Any) -> Any:
    rows = kit.buffer("rows", torch.tensor([1, 4]))
    values = aten.narrow.default(kit.source("b"), 2, 0, 2)
    target = aten.clone.default(kit.source("a"))
    return kit.read("r", op(target, [None, None, rows], values), 8)


@case(aten.gather.default)
def gather_space(kit: Kit, op: Any) -> Any:
    order = aten.argsort.default(_flat(kit, "b"), 2)
    return kit.read("r", op(_flat(kit, "a"), 2, order), 8)


@case(aten.scatter.src, aten.scatter_.src, aten.scatter_add.default, aten.scatter_add_.default)
def scatter_space(kit: Kit, op: Any) -> Any:
    order = aten.argsort.default(_flat(kit, "b"), 2)
    target = aten.clone.default(_flat(kit, "a"))
    return kit.read("r", op(target, 2, order, _flat(kit, "c")), 8)


@case(aten.scatter.value, aten.scatter_.value)
def scatter_a_number(kit: Kit, op: Any) -> Any:
    order = aten.narrow.default(aten.argsort.default(_flat(kit, "b"), 2), 2, 0, 9)
    return kit.read("r", op(aten.clone.default(_flat(kit, "a")), 2, order, 0.5), 8)


@case(aten.scatter.src, prunes=("d",), pins=("a",))
def scatter_channels(kit: Kit, op: Any) -> Any:
    order = aten.argsort.default(_flat(kit, "b"), 1)
    found = op(aten.clone.default(_flat(kit, "a")), 1, order, _flat(kit, "c"))
    return kit.read("r", found, 8), kit.read("s", kit.source("d"), 8)


@case(aten.slice_scatter.default, prunes=("a", "b"))
def write_a_range_of_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), kit.source("b", 4), 1, 2, 6), 8)


@case(aten.slice_scatter.default)
def write_a_range_of_space(kit: Kit, op: Any) -> Any:
    part = aten.narrow.default(kit.source("b"), 2, 0, 2)
    return kit.read("r", op(kit.source("a"), part, 2, 3, 5), 8)


@case(aten.select_scatter.default)
def write_a_row(kit: Kit, op: Any) -> Any:
    row = aten.select.int(kit.source("b"), 2, 0)
    return kit.read("r", op(kit.source("a"), row, 2, 4), 8)


@case(aten.select_scatter.default, prunes=("b",), pins=("a",))
def write_a_channel(kit: Kit, op: Any) -> Any:
    one = aten.select.int(kit.x, 1, 0)
    return kit.read("r", op(kit.source("a"), one, 1, 4), 8), kit.read("s", kit.source("b"), 8)


@case(aten.topk.default)
def largest_places(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(_flat(kit, "a"), 3, 2)[0], 8)


@case(aten.sort.default, aten.sort.stable)
def sorted_space(kit: Kit, op: Any) -> Any:
    flat = _flat(kit, "a")
    found = op(flat, 2) if op is aten.sort.default else op(flat, stable=True, dim=2)
    return kit.read("r", found[0], 8)


@case(aten.sort.default, prunes=("b",), pins=("a",))
def sorted_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(_flat(kit, "a"), 1)[0], 8), kit.read("s", kit.source("b"), 8)


@case(aten.argsort.default, aten.argsort.stable)
def order_of_space(kit: Kit, op: Any) -> Any:
    flat = _flat(kit, "a")
    found = op(flat, 2) if op is aten.argsort.default else op(flat, stable=True, dim=2)
    return kit.read("r", aten._to_copy.default(found, dtype=torch.float64), 8)


@case(aten.embedding.default, prunes=("table",))
def rows_of_a_table(kit: Kit, op: Any) -> Any:
    tokens = kit.input("tokens", torch.tensor([[1, 0, 3], [2, 2, 6], [5, 4, 0]]))
    return kit.linear("r", op(kit.param("table.weight", 7, 8), tokens), 8, 4)


@case(aten.channel_shuffle.default, aten.native_channel_shuffle.default)
def shuffle_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), 4), 8)


@case(aten.roll.default)
def roll_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), [3], [1]), 8)


@case(aten.roll.default, aten.flip.default)
def move_space(kit: Kit, op: Any) -> Any:
    arguments: tuple[Any, ...] = ([1, 2], [2, 3]) if op is aten.roll.default else ([3],)
    found = aten.mul.Tensor(op(kit.source("a"), *arguments), kit.source("b"))
    return kit.read("r", found, 8)


@case(aten.flip.default, prunes=("a", "b"))
def flip_channels(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), [1]), 8), kit.read("s", kit.source("b"), 8)


@case(aten.im2col.default)
def patches_of_space(kit: Kit, op: Any) -> Any:
    return kit.read("r", op(kit.source("a"), [2, 2], [1, 1], [0, 0], [2, 2]), 32)


@case(aten.col2im.default)
def space_of_patches(kit: Kit, op: Any) -> Any:
    patches = aten.narrow.default(_flat(kit, "a", 32), 2, 0, 9)
    return kit.read("r", op(patches, [6, 6], [2, 2], [1, 1], [0, 0], [2, 2]), 8)


_ONE_AXIS = (
    aten.fft_fft.default,
    aten.fft_ifft.default,
    aten.fft_rfft.default,
    aten.fft_irfft.default,
)
_AXES = (
    aten.fft_fft2.default,
    aten.fft_ifft2.default,
    aten.fft_rfft2.default,
    aten.fft_irfft2.default,
    aten.fft_fftn.default,
    aten.fft_ifftn.default,
    aten.fft_rfftn.default,
    aten.fft_irfftn.default,
)


@case(*_ONE_AXIS, *_AXES, aten.fft_fftshift.default)
def transform_space(kit: Kit, op: Any) -> Any:
    x = kit.source("a")
    if op is aten.fft_fftshift.default:
        found = op(x, [2, 3])
    else:
        found = op(x, None, -1) if op in _ONE_AXIS else op(x, None, [2, 3])
    return kit.read("r", aten.abs.default(found), 8)


@case(aten.fft_fft.default, prunes=("b",), pins=("a",))
def transform_channels(kit: Kit, op: Any) -> Any:
    found = aten.abs.default(op(kit.source("a"), None, 1))
    return kit.read("r", found, 8), kit.read("s", kit.source("b"), 8)
