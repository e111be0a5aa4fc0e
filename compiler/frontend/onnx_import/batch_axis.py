"""The batch axis and other axes whose size may vary: found, named, and filled with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from compressc.dynamic_axes import symbol_of
from compressc.errors import HandOverError
from compressc.frontend.input_shape import Shape
from compressc.frontend.onnx_import.graph import Graph
from compressc.frontend.onnx_import.signature import Dimension, Input

_BATCH = "batch"
_FEWEST = 2
# Operators that hand indices on.
_PASSING = frozenset({"Cast", "Identity", "Unsqueeze", "Reshape", "Squeeze", "Expand"})


@dataclass(frozen=True, eq=False)
class Example:
    """Example inputs, and which of their axes may vary.

    Attributes:
        inputs: one tensor for each input of the file.
        axes: per input, the axes that may vary and their names in the file.
    """

    inputs: tuple[Tensor, ...]
    axes: tuple[Mapping[int, str], ...]

    @property
    def batch_names(self) -> frozenset[str]:
        """The names of first axes that may vary."""
        return frozenset(axes[0] for axes in self.axes if 0 in axes)

    def eager_inputs(self) -> list[tuple[Tensor, ...]]:
        """Return the inputs, and those of a batch larger by one where the batch may vary."""
        if not any(self.axes):
            return [self.inputs]
        larger: list[Tensor] = []
        for x, axes in zip(self.inputs, self.axes, strict=True):
            for axis in (axis for axis, name in axes.items() if name in self.batch_names):
                x = torch.cat([x, x.narrow(axis, 0, 1)], axis)
            larger.append(x)
        return [self.inputs, tuple(larger)]

    def doubled(self, name: str) -> tuple[Tensor, ...]:
        """Return the inputs with every axis of a name twice as long."""
        inputs = []
        for x, axes in zip(self.inputs, self.axes, strict=True):
            for axis in (axis for axis, own in axes.items() if own == name):
                x = torch.cat([x, x], axis)
            inputs.append(x)
        return tuple(inputs)

    def fixed(self, names: frozenset[str]) -> Example:
        """Return the same inputs where axes of these names do not vary."""
        axes = tuple({a: n for a, n in own.items() if n not in names} for own in self.axes)
        return Example(self.inputs, axes)

    def dynamic_shapes(self, names: frozenset[str]) -> tuple[tuple[Any, ...]]:
        """Return what ``torch.export`` is told when axes of these names vary.

        The batch has to; others may turn out to be fixed by what the network does to them.
        """
        batch = self.batch_names
        dims = {
            name: Dim(symbol_of(name), min=1, max=65535) if name in batch else Dim.AUTO
            for name in sorted(names)
        }
        shapes = tuple(
            {axis: dims[name] for axis, name in axes.items() if name in names} or None
            for axes in self.axes
        )
        # The network takes any number of inputs, so they are one argument to the export.
        return (shapes,)


def make_example(
    inputs: Sequence[Input], graph: Graph, shapes: Sequence[Shape] | None, batch: int, seed: int
) -> Example:
    """Return seeded example inputs: standard normal, or indices that fit the tables they read.

    The first axis is the batch where it has no fixed size. Other axes without one take theirs from
    ``shapes``.

    Raises:
        HandOverError: if a size is needed that nobody told, or the shapes do not fit.
    """
    batch_name = next((e.axes[0] for e in inputs if e.axes and isinstance(e.axes[0], str)), "")
    given = _assign(inputs, shapes, str(batch_name))
    open_batch = _has_open_batch([entry.axes for entry in inputs])
    generator = torch.Generator().manual_seed(seed)
    tensors: list[Tensor] = []
    names: list[dict[int, str]] = []
    for entry, shape in zip(inputs, given, strict=True):
        sizes, dynamic = _sizes(entry, shape, batch, str(batch_name), open_batch)
        tensors.append(_draw(entry, sizes, graph, generator))
        names.append(dynamic)
    return Example(tuple(tensors), _shared(names))


def _assign(
    inputs: Sequence[Input], shapes: Sequence[Shape] | None, batch_name: str
) -> list[Shape | None]:
    """Return the shape that is given for each input: one for all, or for those that need one."""
    if shapes is None:
        return [None] * len(inputs)
    if len(shapes) == len(inputs):
        return list(shapes)
    needy = [_is_open(entry.axes, batch_name) for entry in inputs]
    if len(shapes) != sum(needy):
        raise HandOverError(
            f"{len(shapes)} input shapes were given for {len(inputs)} inputs "
            f"({', '.join(x.name for x in inputs)}); give one for each, separated by ;"
        )
    fresh = iter(shapes)
    return [next(fresh) if needs else None for needs in needy]


def _is_open(axes: tuple[Dimension, ...] | None, batch_name: str) -> bool:
    """Return whether an axis besides the batch has no size."""
    if axes is None:
        return True
    place = _batch_place(axes, batch_name)
    return any(not isinstance(a, int) for index, a in enumerate(axes) if index != place)


def _has_open_batch(inputs: Sequence[tuple[Dimension, ...] | None]) -> bool:
    """Return whether the first axis of an input has no fixed size."""
    return any(axes and not isinstance(axes[0], int) for axes in inputs)


def _batch_place(axes: tuple[Dimension, ...], batch_name: str, open_batch: bool = False) -> int:
    """Return which axis is the batch; states of recurrent layers have it second, behind layers.

    Args:
        axes: of one input.
        batch_name: what another input calls its batch; "" where it has no name.
        open_batch: whether the batch of another input is open, so that of this one must be.
    """
    if batch_name in axes:
        return axes.index(batch_name)
    free = [place for place, size in enumerate(axes) if not isinstance(size, int)]
    return free[0] if open_batch and len(free) == 1 else 0


def _shared(names: Sequence[dict[int, str]]) -> tuple[Mapping[int, str], ...]:
    """Name the nameless batch axes after the batch that other inputs name."""
    batch = next((axes[0] for axes in names if axes.get(0)), _BATCH)
    return tuple({axis: name or batch for axis, name in axes.items()} for axes in names)


def _sizes(
    entry: Input, given: Shape | None, batch: int, batch_name: str, open_batch: bool
) -> tuple[list[int], dict[int, str]]:
    """Return the size of every axis, and the names of those that may vary."""
    axes = entry.axes
    if axes is None:
        if given is None:
            raise HandOverError(
                f"input '{entry.name}' has no shape; pass --input-shape, one example without the "
                "batch axis, such as 3,224,224"
            )
        axes = (None,) * (len(given) + 1)
    if not axes:
        return [], {}
    place = _batch_place(axes, batch_name, open_batch)
    if given is not None and len(given) != len(axes) - 1:
        raise HandOverError(
            f"input '{entry.name}' has {len(axes)} axes, the batch among them, but the input shape "
            f"names {len(given)}; give {len(axes) - 1} sizes"
        )
    told = [None] * len(axes) if given is None else [*given[:place], None, *given[place:]]
    sizes: list[int] = []
    dynamic: dict[int, str] = {}
    for axis, declared in enumerate(axes):
        if isinstance(declared, int):
            if told[axis] not in (None, declared):
                raise HandOverError(
                    f"input '{entry.name}' has {declared} elements on axis {axis}, not "
                    f"{told[axis]}; the file fixes that size"
                )
            sizes.append(declared)
            continue
        named = declared is not None and any(map(str.isalnum, declared))
        own = "" if axis == place else f"{entry.name}_dim{axis}"
        # Paddle calls every such axis "?", which does not make them one.
        dynamic[axis] = str(declared) if named else own
        sizes.append(batch if axis == place else told[axis] or 0)
    if 0 in sizes:
        missing = [axes[axis] or str(axis) for axis, size in enumerate(sizes) if size == 0]
        example = [
            str(a) if isinstance(a, int) else "224" for i, a in enumerate(axes) if i != place
        ]
        raise HandOverError(
            f"input '{entry.name}' has axes without a fixed size ({', '.join(map(str, missing))}); "
            f"pass --input-shape with {len(axes) - 1} sizes, such as {','.join(example)}"
        )
    return sizes, dynamic


def _draw(entry: Input, sizes: Sequence[int], graph: Graph, generator: torch.Generator) -> Tensor:
    if entry.dtype.is_floating_point:
        return torch.randn(*sizes, generator=generator).to(entry.dtype)
    return torch.randint(0, _table_size(entry.name, graph), tuple(sizes), generator=generator).to(
        entry.dtype
    )


def _table_size(name: str, graph: Graph) -> int:
    """Return how many rows the tables have that an input of integers reads."""
    names, rows = {name}, []
    for node in graph.nodes:
        if node.operator == "Gather" and node.inputs[1] in names:
            table = graph.constants.get(node.inputs[0])
            if table is not None:
                rows.append(table.array.shape[node.attributes.get("axis", 0)])
        elif node.operator == "Equal" and names.intersection(node.inputs):
            # Tables spelled as products with a row of comparisons.
            rows += [
                int(graph.constants[name].array.max()) + 1
                for name in node.inputs
                if name in graph.constants and graph.constants[name].array.size > 1
            ]
        elif node.operator in _PASSING and node.inputs[0] in names:
            names.update(node.outputs)
    return min(rows, default=_FEWEST)
