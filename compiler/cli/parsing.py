"""Argument parsing: one-line errors, and options made from the fields of passes."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, Union

from compressc.errors import UsageError
from compressc.pass_fields import build_pass, list_fields


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose options are never guessed from prefixes."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def parse_whole(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; what is left over is told by where it belongs.

        Raises:
            UsageError: if a word or option is not understood.
        """
        options, extras = self.parse_known_args(list(arguments))
        if extras:
            from compressc.cli.stray_options import explain_stray

            self.error(explain_stray(extras, list(self._option_string_actions)))
        return options

    def peek(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, bool]:
        """Return the options that are known before passes add theirs, and whether those are all.

        Loading passes takes seconds; what is wrong without them is told first. A word that belongs
        to an option of a pass may be taken for the model here.

        Raises:
            UsageError: if an option does not have a value that it takes.
        """
        options, extras = self.parse_known_args(list(arguments))
        return options, not extras

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; see {self.prog} --help")


@dataclasses.dataclass(frozen=True)
class FieldOption:
    """One field of a pass as a command-line option.

    Attributes:
        field: the field's name.
        kind: type of one value.
        choices: the values allowed, empty for any.
        many: whether it takes several, joined by commas.
        default: of the field.
        named: whether each of the several is NAME=VALUE.
    """

    field: str
    kind: type
    choices: tuple[Any, ...]
    many: bool
    default: Any
    named: bool = False

    @property
    def flag(self) -> str:
        """The option: ``--`` and the field's name with dashes."""
        return "--" + self.field.replace("_", "-")

    @property
    def form(self) -> str:
        """What the option takes, for people."""
        if self.choices:
            return "|".join(str(choice) for choice in self.choices)
        if self.kind is bool:
            return "yes|no"
        name = {int: "N", float: "X", str: "TEXT"}[self.kind]
        name = f"PATTERN={name}" if self.named else name
        return f"{name},{name},..." if self.many else name

    @property
    def shown_default(self) -> str:
        """The default as it would be typed."""
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        return "none" if self.default in (None, ()) else str(self.default)

    def read(self, text: str) -> Any:
        """Return the field's value for the text of the option.

        Raises:
            UsageError: if the text does not fit.
        """
        if self.many:
            return tuple(self._read_one(part) for part in text.split(",") if part)
        return self._read_one(text)

    def _read_one(self, text: str) -> Any:
        if self.named:
            key, equals, text = text.rpartition("=")
            if not equals:
                raise UsageError(f"{self.flag} '{text}': give {self.form}")
            return key, dataclasses.replace(self, named=False)._read_one(text)
        try:
            value = _truth(text) if self.kind is bool else self.kind(text)
        except ValueError as error:
            raise UsageError(f"{self.flag} '{text}': give {self.form}") from error
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.flag} '{text}': give one of {self.form}")
        return value


def _truth(text: str) -> bool:
    if text.lower() in ("yes", "true", "1", "on"):
        return True
    if text.lower() in ("no", "false", "0", "off"):
        return False
    raise ValueError(text)


def field_options(pass_class: type) -> tuple[FieldOption, ...]:
    """Return the fields of a pass, or of its parts, that can be given as text."""
    options = []
    for flat in list_fields(pass_class):
        option = _option_of(flat.field, flat.hint)
        if option is not None and flat.field.init:
            options.append(option)
    return tuple(options)


def _option_of(entry: dataclasses.Field[Any], hint: Any) -> FieldOption | None:
    default = None if entry.default is dataclasses.MISSING else entry.default
    many = False
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) != 1:
            return None
        hint = kinds[0]
    if typing.get_origin(hint) is tuple:
        inside = typing.get_args(hint)
        if len(inside) != 2 or inside[1] is not Ellipsis:
            return None
        hint, many = inside[0], True
    pair = typing.get_args(hint)
    named = many and typing.get_origin(hint) is tuple and len(pair) == 2 and pair[0] is str
    if named:
        hint = pair[1]
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return FieldOption(entry.name, type(choices[0]), choices, many, default, named)
    if hint in (int, float, str, bool):
        return FieldOption(entry.name, hint, (), many, default, named)
    return None


@dataclasses.dataclass
class ChosenPass:
    """A pass to run and the settings given for it; ``implied`` until a ``--pass`` names it."""

    name: str
    pass_class: Any
    implied: bool
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def build(self) -> Any:
        """Return the configured pass.

        Raises:
            UsageError: if a required setting is missing or a value is refused.
        """
        try:
            return build_pass(self.pass_class, self.settings)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"--pass {self.name}: {error}; `compressc passes` lists its options"
            ) from error


def values_of(arguments: Sequence[str], flag: str) -> list[str]:
    """Return the values that ``flag`` is given, without parsing anything else."""
    values = []
    for index, word in enumerate(arguments):
        if word == flag and index + 1 < len(arguments):
            values.append(arguments[index + 1])
        elif word.startswith(f"{flag}="):
            values.append(word.split("=", 1)[1])
    return values


def add_pass_options(
    parser: argparse.ArgumentParser, known: Mapping[str, type], implied: Sequence[str] = ()
) -> list[ChosenPass]:
    """Add ``--pass`` and an option for every field of the passes in play.

    An option belongs to the nearest ``--pass`` before it that has such a field; where none has,
    it implies the first known pass that does.

    Args:
        parser: gets the options; options that it has already win over fields of the same name.
        known: the passes in play by name.
        implied: passes that run though no ``--pass`` names them.

    Returns:
        The passes chosen, in order; filled while the parser parses.
    """
    chosen = [ChosenPass(name, known[name], implied=True) for name in implied]

    class Choose(argparse.Action):
        def __call__(self, _parser: Any, _space: Any, value: Any, _option: Any = None) -> None:
            for entry in chosen:
                if entry.name == value and entry.implied:
                    entry.implied = False
                    return
            chosen.append(ChosenPass(value, known[value], implied=False))

    group = parser.add_argument_group("passes")
    group.add_argument(
        "--pass",
        action=Choose,
        metavar="NAME",
        dest="_pass",
        help="how to decide what leaves (repeatable). Default: surgeon and calibrate, or latency "
        "and calibrate for a --target-latency; with --no-repair magnitude or latency alone; "
        "sparsify for --sparsity. The settings of a pass are options too: `compressc passes` lists "
        "them",
    )
    taken = set(parser._option_string_actions)
    for name, pass_class in known.items():
        for option in field_options(pass_class):
            if option.flag in taken:
                continue
            taken.add(option.flag)
            group.add_argument(
                option.flag,
                action=_setter(option, chosen, ChosenPass(name, pass_class, implied=True)),
                metavar=option.form,
                dest=f"_{option.field}",
                help=f"of {name} (default {option.shown_default})",
            )
    return chosen


def _setter(
    option: FieldOption, chosen: list[ChosenPass], fallback: ChosenPass
) -> type[argparse.Action]:
    class Configure(argparse.Action):
        def __call__(self, _parser: Any, _space: Any, value: Any, _option: Any = None) -> None:
            owners = [
                (entry, mine)
                for entry in chosen
                for mine in field_options(entry.pass_class)
                if mine.flag == option.flag
            ]
            if not owners:
                chosen.append(fallback)
                owners = [(fallback, option)]
            owner, mine = owners[-1]
            owner.settings[mine.field] = mine.read(value)

    return Configure
