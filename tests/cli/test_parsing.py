"""Options made from the fields of passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from compressc.cli.parsing import ChosenPass, Parser, add_pass_options, field_options, values_of
from compressc.errors import UsageError


@dataclass(frozen=True)
class First:
    norm: Literal["l1", "l2"] = "l2"
    ratio: float | None = None
    ratios: tuple[float, ...] = ()
    steps: int = 3
    careful: bool = True
    table: dict[str, int] | None = None
    shares: tuple[tuple[str, float], ...] = ()
    name: ClassVar[str] = "first"


@dataclass(frozen=True)
class Second:
    steps: int = 5
    depth: int = 1
    name: ClassVar[str] = "second"


KNOWN: dict[str, type] = {"first": First, "second": Second}


def parse(*arguments: str, implied: tuple[str, ...] = ()) -> list[ChosenPass]:
    parser = Parser(prog="test")
    parser.add_argument("--depth-of-all")
    chosen = add_pass_options(parser, KNOWN, implied)
    parser.parse_args(list(arguments))
    return chosen


def test_fields_become_options_unless_they_cannot_be_text() -> None:
    options = {option.field: option for option in field_options(First)}
    assert set(options) == {"norm", "ratio", "ratios", "steps", "careful", "shares"}
    assert options["norm"].form == "l1|l2"
    assert options["ratio"].kind is float
    assert options["ratios"].many


def test_settings_are_typed() -> None:
    (one,) = parse(
        *("--pass", "first", "--norm", "l1", "--ratio", "0.5", "--ratios", "0.1,0.2"),
        *("--steps", "7", "--careful", "no"),
    )
    assert one.build() == First("l1", 0.5, (0.1, 0.2), 7, careful=False)


def test_named_values_are_pairs() -> None:
    (one,) = parse("--pass", "first", "--shares", "layer1.*=0.5,a=b=0.25")
    assert one.build() == First(shares=(("layer1.*", 0.5), ("a=b", 0.25)))
    options = {option.field: option for option in field_options(First)}
    assert options["shares"].form == "PATTERN=X,PATTERN=X,..."
    assert options["careful"].shown_default == "yes"


def test_an_option_belongs_to_the_nearest_pass_before_it() -> None:
    built = [
        one.build()
        for one in parse("--pass", "first", "--steps", "1", "--pass", "second", "--steps", "2")
    ]
    assert built == [First(steps=1), Second(steps=2)]


def test_a_pass_may_run_twice() -> None:
    built = [one.build() for one in parse("--pass", "first", "--pass", "first", "--norm", "l1")]
    assert built == [First(), First("l1")]


def test_an_option_implies_its_pass() -> None:
    assert [one.build() for one in parse("--depth", "4")] == [Second(depth=4)]
    assert [one.build() for one in parse("--depth", "4", "--pass", "second")] == [Second(depth=4)]


def test_an_implied_pass_runs_once_though_it_is_named() -> None:
    built = [one.build() for one in parse("--pass", "first", "--norm", "l1", implied=("first",))]
    assert built == [First("l1")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--norm", "l3"), "l1|l2"),
        (("--steps", "many"), "--steps 'many'"),
        (("--shares", "0.5"), "PATTERN=X"),
        (("--shares", "a=half"), "--shares"),
        (("--careful", "maybe"), "yes|no"),
        (("--unknown", "1"), "unrecognized arguments"),
        (("--ste", "1"), "unrecognized arguments"),
    ],
)
def test_wrong_options_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_value_names_the_pass() -> None:
    class Picky:
        def __init__(self, **_: object) -> None:
            raise ValueError("no")

    with pytest.raises(UsageError, match="--pass picky: no"):
        ChosenPass("picky", Picky, implied=False).build()


def test_values_are_found_before_parsing() -> None:
    words = ["m.pt", "--pass", "a", "--pass=b", "--pass"]
    assert values_of(words, "--pass") == ["a", "b"]
