"""Passes whose hyper-parameters are grouped in parts look flat from outside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from compressc.cli.parsing import Parser, add_pass_options
from compressc.contract.registry import find_pass, registered_passes
from compressc.pass_fields import build_pass, list_fields, read_settings


@dataclass(frozen=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True)
class Part:
    width: int = 3
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError("width below 0")


@dataclass(frozen=True)
class Parted:
    part: Part = field(default_factory=Part)
    height: int = 4
    name: ClassVar[str] = "parted"


def test_fields_of_parts_stand_in_their_place() -> None:
    assert [(flat.field.name, flat.owner) for flat in list_fields(Parted)] == [
        ("width", Part),
        ("depth", Inner),
        ("height", Parted),
    ]


def test_settings_are_read_and_built_flat() -> None:
    parted = Parted(Part(5, Inner(6)), 7)
    settings = {"width": 5, "depth": 6, "height": 7}
    assert read_settings(parted) == settings
    assert build_pass(Parted, settings) == parted
    assert build_pass(Parted, {"depth": 9}) == Parted(Part(inner=Inner(9)))
    assert build_pass(Parted, {}) == Parted()
    assert read_settings(object()) == {}


def test_what_a_part_refuses_and_what_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="width below 0"):
        build_pass(Parted, {"width": -1})
    with pytest.raises(TypeError, match="breadth"):
        build_pass(Parted, {"breadth": 1})


def test_the_command_line_sets_fields_of_parts() -> None:
    parser = Parser(prog="test")
    chosen = add_pass_options(parser, {"parted": Parted})
    parser.parse_args(["--pass", "parted", "--depth", "8", "--height", "1"])
    (parted,) = chosen
    assert parted.build() == Parted(Part(inner=Inner(8)), 1)


@pytest.mark.parametrize("name", sorted(registered_passes()))
def test_hyper_parameters_have_names_of_their_own(name: str) -> None:
    names = Counter(flat.field.name for flat in list_fields(find_pass(name)))
    assert set(names.values()) <= {1}
