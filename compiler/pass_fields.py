"""Fields of passes, flat: a pass may group its hyper-parameters in parts, its users need not.

A field whose type is a dataclass is such a part. The fields of all parts have names of their own,
so that each can be an option of the command line and a line of a report.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FlatField:
    """One hyper-parameter of a pass.

    Attributes:
        field: as dataclasses describe it.
        hint: its type.
        owner: the class that declares it: the pass, or one of its parts.
    """

    field: dataclasses.Field[Any]
    hint: Any
    owner: type


def list_fields(pass_class: type) -> Iterator[FlatField]:
    """Yield the hyper-parameters of a pass, those of its parts in place of the parts."""
    hints = typing.get_type_hints(pass_class)
    for field in dataclasses.fields(pass_class):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from list_fields(hint)
        else:
            yield FlatField(field, hint, pass_class)


def read_settings(built: Any) -> dict[str, Any]:
    """Return the hyper-parameters of a pass by name; none where it is no dataclass."""
    if not dataclasses.is_dataclass(built):
        return {}
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(built):
        value = getattr(built, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            settings.update(read_settings(value))
        else:
            settings[field.name] = value
    return settings


def build_pass(pass_class: type, settings: Mapping[str, Any]) -> Any:
    """Return a pass, or a part of one, with some of its hyper-parameters set.

    Raises:
        TypeError: if there is no hyper-parameter of that name, or a required one is missing.
    """
    if not dataclasses.is_dataclass(pass_class):
        return pass_class(**settings)
    hints = typing.get_type_hints(pass_class)
    left, arguments = dict(settings), dict[str, Any]()
    for field in dataclasses.fields(pass_class):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            names = {flat.field.name for flat in list_fields(hint)} & set(left)
            if names:
                arguments[field.name] = build_pass(hint, {name: left.pop(name) for name in names})
    return pass_class(**arguments, **left)
