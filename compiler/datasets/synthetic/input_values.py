"""Input values: what may stand in each input of a network before anything is optimised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, fx

from compressc.channels.shapes import hinted_shape
from compressc.datasets.synthetic.leaves import draw_leaves
from compressc.datasets.synthetic.waves import draw_waves
from compressc.operators import argument_of
from compressc.program import Program
from compressc.tasks.unlabeled import batched_inputs

aten = torch.ops.aten

# Pictures are mostly scaled to [-1, 1], with a deviation of a half, or to a deviation of 1.
_PICTURE_DEVIATION = 0.7
# Pictures that are drawn at once, for little memory.
_AT_ONCE = 64
# What an input may go through on its way to an embedding: its values stay.
_VALUES_STAY = frozenset(
    {
        aten.to.dtype,
        aten.to.dtype_layout,
        aten._to_copy.default,
        aten.contiguous.default,
        aten.clone.default,
        aten.view.default,
        aten.reshape.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
        aten.permute.default,
        aten.transpose.int,
        aten.flatten.using_ints,
        aten.slice.Tensor,
        aten.select.int,
        aten.alias.default,
        aten.detach.default,
    }
)


@dataclass(frozen=True)
class InputKind:
    """What one input of a network takes.

    Attributes:
        shape: as in the example inputs, batch included where there is one.
        dtype: of its values.
        is_batched: whether its first axis is the batch; one that is not is the same for everybody.
        admitted: integers below this may stand in it; 0 where nothing says so.
        smooth_axes: along which neighbours are alike.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_batched: bool
    admitted: int = 0
    smooth_axes: tuple[int, ...] = ()

    @property
    def is_continuous(self) -> bool:
        """Whether its values can be optimised."""
        return self.dtype.is_floating_point and self.is_batched

    @property
    def is_picture(self) -> bool:
        """Whether it reads grey or colour pictures."""
        return self.is_continuous and len(self.shape) == 4 and self.shape[1] in (1, 3)

    @property
    def may_be_mirrored(self) -> bool:
        """Whether it reads colour pictures: digits and letters, which are grey, have a side."""
        return self.is_picture and self.shape[1] == 3


def read_input_kinds(program: Program) -> tuple[InputKind, ...]:
    """Return what each input takes, in their order."""
    nodes = [node for node in program.graph_module.graph.nodes if node.op == "placeholder"]
    kinds = []
    for node, example, batched in zip(
        nodes, program.example_inputs, batched_inputs(program), strict=True
    ):
        integral = not example.dtype.is_floating_point and example.dtype is not torch.bool
        kinds.append(
            InputKind(
                tuple(example.shape),
                example.dtype,
                batched,
                min(_rows_of_embeddings(node), default=0) if integral else 0,
                _smooth_axes(node, example) if example.dtype.is_floating_point else (),
            )
        )
    return tuple(kinds)


def draw_input(kind: InputKind, example: Tensor, count: int, generator: Generator) -> Tensor:
    """Return ``count`` samples of an input to begin with.

    Pictures become leaves, other floats waves; integers are drawn from what embeddings admit.
    Anything else, such as a mask or an input without a batch axis, is what stands in the example.

    Shape:
        (count, *shape of one sample), or that of the example where it has no batch axis.
    """
    if not kind.is_batched:
        return example.detach().clone()
    shape = (count, *kind.shape[1:])
    if kind.is_picture:
        parts = [
            draw_leaves((min(_AT_ONCE, count - done), *kind.shape[1:]), generator)
            for done in range(0, count, _AT_ONCE)
        ]
        return _PICTURE_DEVIATION * torch.cat(parts).to(kind.dtype)
    if kind.is_continuous:
        return draw_waves(shape, kind.smooth_axes, generator).to(kind.dtype)
    if kind.admitted:
        return torch.randint(0, kind.admitted, shape, generator=generator).to(kind.dtype)
    rows = torch.randint(0, len(example), (count,), generator=generator)
    return example.detach()[rows]


def _rows_of_embeddings(node: fx.Node) -> Iterator[int]:
    """Yield how many rows each table has that is looked up by the values of a node."""
    for user in node.users:
        if user.target is aten.embedding.default and argument_of(user, "indices") is node:
            table = argument_of(user, "weight")
            if isinstance(table, fx.Node):
                yield hinted_shape(table.meta["val"])[0]
        elif user.target in _VALUES_STAY:
            yield from _rows_of_embeddings(user)


def _smooth_axes(node: fx.Node, example: Tensor) -> tuple[int, ...]:
    if example.dim() < 3:
        return ()
    reads_features = any(user.target is aten.linear.default for user in node.users)
    if reads_features:
        return tuple(range(1, example.dim() - 1))
    return tuple(range(2, example.dim()))
