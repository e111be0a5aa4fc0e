"""Content of values, fed to a digest: equal in every process exactly where the values are equal."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Callable, Mapping, Set
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from compressc.errors import NoIdentityError
from compressc.program import Program

_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType)
_PICKLE_PROTOCOL = 4


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, content: bytes | memoryview, /) -> None:
        """Take in some bytes."""
        ...


def feed_content(digest: Digest, value: Any) -> None:
    """Feed a value, nested in any way, to a digest.

    Programs count by graph, weights and decisions, tensors and arrays by type, shape and numbers,
    dataclasses by their fields, functions by name and code, and other objects by what pickling
    would keep of them. Addresses never count.

    Raises:
        NoIdentityError: if part of the value cannot be told from others of its kind.
    """
    _Feeder(digest).feed(value)


class _Feeder:
    """Walks through one value."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        # Objects that the walk is inside of, by their place, so that a circle comes to an end.
        self._open: dict[int, int] = {}

    def feed(self, value: Any) -> None:
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            self._text(type(value).__name__, repr(value))
            return
        if id(value) in self._open:
            self._text("circle", str(self._open[id(value)]))
            return
        self._open[id(value)] = len(self._open)
        try:
            self._feed_object(value)
        finally:
            del self._open[id(value)]

    def _text(self, kind: str, text: str) -> None:
        """Feed a text under its length, so that neighbours cannot be taken for one."""
        self._digest.update(f"{kind} {len(text)} {text}".encode())

    def _feed_object(self, value: Any) -> None:
        if isinstance(value, Program):
            self._text("program", _describe_program(value))
        elif isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            self._text("tensor", f"{plain.dtype}{tuple(plain.shape)}")
            self._digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self._text("array", f"{value.dtype}{value.shape}")
            self._digest.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, Mapping):
            pairs = sorted(value.items(), key=lambda pair: repr(pair[0]))
            self._members(value, [part for pair in pairs for part in pair])
        elif isinstance(value, list | tuple):
            self._members(value, value)
        elif isinstance(value, Set):
            self._members(value, sorted(value, key=repr))
        elif isinstance(value, type | types.ModuleType):
            self._text("name", _full_name(value))
        elif dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            values = [(field.name, getattr(value, field.name)) for field in fields]
            self._members(value, [part for pair in values for part in pair])
        elif isinstance(value, types.FunctionType):
            self._feed_function(value)
        elif isinstance(value, types.MethodType):
            self._members(value, (value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._members(value, (value.func, value.args, value.keywords))
        else:
            self._feed_pickled(value)

    def _members(self, owner: Any, members: Any) -> None:
        self._text(_full_name(type(owner)), str(len(members)))
        for member in members:
            self.feed(member)

    def _feed_function(self, function: types.FunctionType) -> None:
        self._text("function", _full_name(function))
        self._feed_code(function.__code__)
        self.feed((function.__defaults__, function.__kwdefaults__))
        if _is_importable(function):
            return
        # A lambda or a closure takes part of its meaning from where it was made.
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self.feed({name: cell.cell_contents for name, cell in cells})
        around = {name: function.__globals__.get(name) for name in function.__code__.co_names}
        self.feed({name: value for name, value in around.items() if isinstance(value, _PLAIN)})

    def _feed_code(self, code: types.CodeType) -> None:
        self._digest.update(code.co_code)
        self.feed((code.co_names, code.co_varnames))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._feed_code(constant)
            else:
                self.feed(constant)

    def _feed_pickled(self, value: Any) -> None:
        """Feed what pickling would keep of an object; nothing is pickled or executed."""
        try:
            reduced = value.__reduce_ex__(_PICKLE_PROTOCOL)
        except Exception as error:
            raise NoIdentityError(
                f"a {_full_name(type(value))} cannot be told from another one ({error})"
            ) from error
        if isinstance(reduced, str):
            self._text("name", f"{getattr(value, '__module__', '')}.{reduced}")
            return
        make, arguments, *more = reduced
        self._text("object", _full_name(type(value)))
        self.feed(_name_or_value(make))
        self.feed(arguments)
        # State, then the members of list-like and of dict-like objects, as iterators.
        for part in more:
            self.feed(list(part) if hasattr(part, "__next__") else part)


def _name_or_value(make: Callable[..., Any]) -> Any:
    """Return the name of what builds an object: the code of torch or of Python does not count."""
    return _full_name(make) if isinstance(make, types.FunctionType) else make


def _full_name(value: Any) -> str:
    module = getattr(value, "__module__", "")
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _is_importable(function: types.FunctionType) -> bool:
    """Return whether a function is found under its name, in a module that is no script."""
    if function.__module__ in (None, "__main__") or "<" in function.__qualname__:
        return False
    try:
        place: Any = import_module(function.__module__)
        for name in function.__qualname__.split("."):
            place = getattr(place, name)
    except (ImportError, AttributeError):
        return False
    return place is function


def _describe_program(program: Program) -> str:
    """Return a text that says everything about a program that passes can see.

    The values of the example inputs do not count: they are drawn anew by every process.
    """
    inputs = [(tensor.dtype, tuple(tensor.shape)) for tensor in program.example_inputs]
    return repr(
        (
            program.once("digest of graph and weights", lambda: _digest_graph(program)),
            program.plan.digest,
            program.constraints,
            program.sparse_weights,
            inputs,
            [dict(axes) for axes in program.dynamic_axes],
        )
    )


def _digest_graph(program: Program) -> str:
    digest = hashlib.sha256(program.graph_module.code.encode())
    feed_content(digest, list(program.state().items()))
    return digest.hexdigest()
