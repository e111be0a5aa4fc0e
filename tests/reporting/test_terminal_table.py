"""Tables with and without rich hold the same entries."""

from __future__ import annotations

import sys

import pytest

from compressc.reporting.terminal_table import Column, plain_table, print_table

COLUMNS = (Column("layer", numeric=False), Column("ms"))
ROWS = (["conv [bold]", "1.5"], ["a longer name", "10.25"])


def test_plain_columns_line_up() -> None:
    lines = plain_table(COLUMNS, ROWS).splitlines()
    assert lines[0] == "layer         |    ms"
    assert lines[2] == "conv [bold]   |   1.5"
    assert lines[3] == "a longer name | 10.25"
    assert len(lines) == 4


@pytest.mark.parametrize("with_rich", [True, False])
def test_every_entry_is_printed(
    with_rich: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_rich:
        for name in ("rich", "rich.markup", "rich.table", "rich.console"):
            monkeypatch.setitem(sys.modules, name, None)
    print_table(COLUMNS, ROWS)
    out = capsys.readouterr().out
    for word in ("layer", "ms", "conv [bold]", "1.5", "a longer name", "10.25"):
        assert word in out
    assert ("-+-" in out) is not with_rich


def test_no_rows_at_all() -> None:
    assert plain_table(COLUMNS, []).splitlines()[0] == "layer | ms"
