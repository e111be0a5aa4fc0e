"""One forward pass over the graph that gives every axis its channel ids."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

import compressc.rules
from compressc.array_types import BoolArray, IntArray
from compressc.channels.axes import Axes, IdSpace, Solution, labelled, plain, size_of
from compressc.channels.shapes import Sizes, hint, value_of
from compressc.error_text import quote_error
from compressc.errors import RuleError
from compressc.program import Program
from compressc.rules.records import Records
from compressc.rules.registry import RULES, freeze_inputs, is_computation, unknown
from compressc.rules.site import Site, Value


@dataclass(frozen=True, eq=False)
class Propagation:
    """The axes of every value, and everything the rules said.

    Attributes:
        space: all ids and their couplings.
        values: axes by node name.
        parameters: axes by parameter or buffer name; tied names share their axes.
        tensors: parameters and buffers by name.
        canonical: for every name, the first name of the same tensor.
        records: edits, contractions, MACs, pins.
    """

    space: IdSpace
    values: Mapping[str, Value]
    parameters: Mapping[str, Axes]
    tensors: Mapping[str, Tensor]
    canonical: Mapping[str, str]
    records: Records

    def is_parameter(self, name: str) -> bool:
        """Return whether a name is a parameter and not a buffer."""
        return isinstance(self.tensors[name], torch.nn.Parameter)


def load_rules() -> None:
    """Import every rule file; each registers its rules in the table."""
    for module in pkgutil.iter_modules(compressc.rules.__path__):
        importlib.import_module(f"compressc.rules.{module.name}")


def named_tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by every name they have."""
    tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    return tensors


# A pixel shuffle spelled as views cuts one axis three times.
_ROUNDS = 4
_IMAGE_RANK = 4


def propagate(program: Program) -> Propagation:
    """Run every node's rule once, in graph order.

    Where an axis is cut into blocks (heads) and the positions inside a block cannot leave, further
    passes let whole blocks leave instead; the pass that leaves most channels free stands.
    """
    load_rules()
    best = current = _pass(program, frozenset())
    blocks: frozenset[str] = frozenset()
    for _ in range(_ROUNDS):
        stuck = _stuck(current, blocks=False) - blocks
        if not stuck:
            break
        wider = _with_siblings(current, stuck)
        choices = [blocks | stuck] if wider == stuck else [blocks | stuck, blocks | wider]
        tried = [(_pass(program, choice), choice) for choice in choices]
        current, blocks = max(tried, key=lambda trial: _free(trial[0]))
        best = max(best, current, key=_free)
    useless = _stuck(best, blocks=True)
    if useless and any(split.blocks and split.name not in useless for split in best.records.splits):
        best = max(best, _pass(program, blocks - useless), key=_free)
    return best


def _with_siblings(propagation: Propagation, names: frozenset[str]) -> frozenset[str]:
    """Return these cuts and the other cuts of the same layers into as many blocks.

    Where queries and keys cannot lose positions, their heads can only leave with the values'.
    """
    splits = propagation.records.splits
    places = {(split.layer, split.outer) for split in splits if split.name in names}
    return names | {split.name for split in splits if (split.layer, split.outer) in places}


def _stuck(propagation: Propagation, *, blocks: bool) -> frozenset[str]:
    """Return the cuts (into positions, or into blocks) none of whose parts may leave."""
    solution = propagation.space.solve()
    return frozenset(
        split.name
        for split in propagation.records.splits
        if split.blocks is blocks and not _is_free(solution, split.ids).any()
    )


def _is_free(solution: Solution, ids: IntArray) -> BoolArray:
    free: BoolArray = solution.reason_of[solution.class_of[ids]] < 0
    return free


def _free(propagation: Propagation) -> int:
    """Return how many parameter slices may leave."""
    solution = propagation.space.solve()
    return sum(
        int(_is_free(solution, factor.ids).sum())
        for axes in propagation.parameters.values()
        for axis in axes
        for factor in axis
        if factor.ids is not None
    )


def _pass(program: Program, block_splits: frozenset[str]) -> Propagation:
    module = program.graph_module
    tensors = named_tensors(module)
    first: dict[int, str] = {}
    canonical = {name: first.setdefault(id(t), name) for name, t in tensors.items()}
    tied = (
        frozenset(
            name for name in tensors if sum(c == canonical[name] for c in canonical.values()) > 1
        )
        if len(first) < len(tensors)
        else frozenset()
    )
    space, records, sizes = IdSpace(), Records(), Sizes()
    values: dict[str, Value] = {}
    parameters: dict[str, Axes] = {}
    batch = _batch(module.graph)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            name = canonical.get(str(node.target), "")
            if name and name not in parameters:
                parameters[name] = tuple(
                    labelled(space.fresh(size)) for size in tensors[name].shape
                )
            values[node.name] = parameters.get(name)
        elif node.op == "placeholder":
            value = value_of(node)
            if isinstance(value, Tensor):
                values[node.name] = _input_axes(node, sizes.shape(value))
        elif node.op == "call_function":
            site = Site(
                node=node,
                space=space,
                values=values,
                records=records,
                sizes=sizes,
                batch=batch,
                frozen_statistics=program.constraints.statistics == "frozen",
                tensors=tensors,
                tied=tied,
                block_splits=block_splits,
            )
            values[node.name] = _apply(site)
        elif node.op == "output":
            for leaf in pytree.tree_leaves(node.args):
                axes = values.get(leaf.name) if isinstance(leaf, fx.Node) else None
                for axis in axes if isinstance(axes, tuple) else ():
                    space.freeze_axis(axis, "these channels are the model's output")
        else:
            raise RuleError(f"the captured graph holds a {node.op} node ({node.target})")
    return Propagation(space, values, parameters, tensors, canonical, records)


def _batch(graph: fx.Graph) -> int:
    """Return the example batch size, by which costs are divided.

    Where the batch is baked in, the first axis of images and videos (rank 4 and more) is taken for
    it; other inputs do not tell.
    """
    fixed: set[int] = set()
    for node in graph.nodes:
        value = value_of(node)
        if node.op == "placeholder" and isinstance(value, Tensor) and value.dim():
            size = value.shape[0]
            if isinstance(size, torch.SymInt):
                return hint(size)
            if value.dim() >= _IMAGE_RANK:
                fixed.add(int(size))
    return fixed.pop() if len(fixed) == 1 else 1


def _input_axes(node: fx.Node, shape: Sequence[int]) -> Axes:
    """Return the axes of an input; each says which one it is."""
    what = [f"axis {axis} of the model's input '{node.target}'" for axis in range(len(shape))]
    return tuple(plain(size, origin) for size, origin in zip(shape, what, strict=True))


def _apply(site: Site) -> Value:
    node = site.node
    if not is_computation(node):
        for source in node.all_input_nodes:
            _check_size_read(site, source)
        return None
    said = site.records.lengths()
    try:
        value = RULES.get(node.target, unknown)(site)
        _check(site, value, value_of(node))
    except Exception as error:  # noqa: BLE001 - whatever a rule stumbles over stays safe and visible
        # Joins made so far only couple more than needed; everything else is taken back.
        site.records.cut_back(said)
        value = freeze_inputs(
            site, f"is written in a way its rule does not know ({quote_error(error)})"
        )
    return value


def _check_size_read(site: Site, source: fx.Node) -> None:
    """Pin what a number is computed from, unless it is a plain axis's size."""
    axes = site.values.get(source.name)
    if not isinstance(axes, tuple):
        return
    if site.node.target is torch.ops.aten.sym_size.int:
        axes = (axes[int(site.node.args[1])],)  # type: ignore[arg-type]
    site.freeze_all(axes, "reads this size or value at run time")


def _check(site: Site, value: Value, expected: object) -> None:
    if isinstance(expected, Tensor):
        shape = site.sizes.shape(expected)
        said = tuple(size_of(axis) for axis in value) if isinstance(value, tuple) else None
        if said != shape:
            raise RuleError(
                f"the rule says shape {said}, the graph says {shape}; please report this model"
            )
    elif isinstance(expected, (tuple, list)):
        if not isinstance(value, list) or len(value) != len(expected):
            raise RuleError("the rule says another number of outputs than the graph")
        for part, part_expected in zip(value, expected, strict=True):
            if isinstance(part_expected, Tensor):
                _check(site, part, part_expected)
