"""A pass that cannot be imported is one line, and hides no other."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from compressc.contract import registry
from compressc.contract.registry import find_pass
from compressc.errors import CompresscError
from tests.cli.conftest import TINY, Cli
from tests.cli.test_errors import expect_one_line

GROUP = registry.ENTRY_POINT_GROUP


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "brittle_pass.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "brittle_pass", raising=False)
    entries = EntryPoints(
        [
            EntryPoint("brittle", "brittle_pass:Brittle", GROUP),
            EntryPoint("absent", "compressc.goal:Absent", GROUP),
            EntryPoint("magnitude", "compressc.passes.magnitude:Magnitude", GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.select(group=group))


@pytest.mark.usefixtures("_broken")
def test_what_is_missing_is_named() -> None:
    with pytest.raises(CompresscError, match=r"'brittle'.*install not_installed_anywhere"):
        find_pass("brittle")
    with pytest.raises(CompresscError, match=r"'absent'.*compressc\.goal:Absent"):
        find_pass("absent")
    assert find_pass("magnitude").name == "magnitude"


@pytest.mark.usefixtures("_broken")
def test_on_the_command_line_it_is_one_line(workplace: Path, cli: Cli) -> None:
    outcome = cli(*TINY, "--target-flops", "0.5", "--pass", "brittle", "-o", "small.onnx")
    expect_one_line(outcome, 1, "install not_installed_anywhere")


@pytest.mark.usefixtures("_broken")
def test_the_list_of_passes_shows_the_others(cli: Cli) -> None:
    code, out, _ = cli("passes")
    assert code == 0
    assert "brittle: not usable" in out
    assert "magnitude: Magnitude" in out or "--norm" in out
    assert cli("passes", "brittle")[0] == 1


FAILING = """
from dataclasses import dataclass
from typing import ClassVar

from compressc import Declaration, Pass

@dataclass(frozen=True)
class Failing(Pass):
    name: ClassVar[str] = "failing"
    declares: ClassVar[Declaration] = Declaration(changes=frozenset({"keep"}))

    def __call__(self, program, context):
        return program.no_such_method()
"""


def test_an_error_of_a_plug_in_is_told_as_its_own(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "failing_pass.py").write_text(FAILING)
    monkeypatch.syspath_prepend(workplace)
    entries = EntryPoints([EntryPoint("failing", "failing_pass:Failing", GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.select(group=group))
    outcome = cli(*TINY, "--target-flops", "0.5", "--pass", "failing", "-o", "small.onnx")
    expect_one_line(outcome, 18, "pass 'failing' of failing_pass failed (AttributeError")
    assert "defect in compressc" not in outcome[2]


@pytest.mark.parametrize("text", ["raise RuntimeError('no licence')", "1 / 0", "syntax error here"])
def test_an_import_that_fails_in_any_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "bad_pass.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_pass", raising=False)
    entries = EntryPoints([EntryPoint("bad", "bad_pass:Bad", GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.select(group=group))
    with pytest.raises(CompresscError, match="'bad' cannot be imported"):
        find_pass("bad")
