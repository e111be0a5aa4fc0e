"""The guide to tasks and the examples of CONTRIBUTING run as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(), re.S)
CONTRIBUTING = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)


def test_there_are_examples() -> None:
    assert len(GUIDE) == 3
    assert len(CONTRIBUTING) == 2


@pytest.mark.parametrize("number", range(len(GUIDE)))
def test_an_example_of_the_guide_runs(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "example"}
    exec(GUIDE[number], names)
    if "result" in names:
        report = names["result"].report  # type: ignore[attr-defined]
        assert report.verdict.passed
        assert report.after.macs < report.before.macs
        assert capsys.readouterr().out


def test_the_example_of_a_pass_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    import torch
    from torch import nn

    import compressc

    module = ModuleType("every_other")
    monkeypatch.setitem(sys.modules, "every_other", module)
    names = vars(module)
    exec(CONTRIBUTING[1], names)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)).eval()
    result = compressc.compress(
        model,
        torch.randn(2, 3, 8, 8),
        goal=compressc.Goal(),
        passes=names["EveryOther"](1),
        settings=compressc.Settings(measure=False),
    )
    assert result.report.layers[0].widths_after == (3, 8)


def test_the_example_of_a_rule_runs() -> None:
    from compressc.rules import registry
    from compressc.rules.propagation import propagate

    assert propagate  # imports the rules

    known = set(registry.RULES)
    names: dict[str, object] = {"__name__": "example_of_a_rule"}
    exec(CONTRIBUTING[0], names)
    try:
        _check_rule()
    finally:
        for target in set(registry.RULES) - known:
            del registry.RULES[target]


def _check_rule() -> None:
    """Compress a network with the operation of the example; lowered == masked must hold."""
    import numpy as np
    import torch
    from torch import nn

    import compressc
    from compressc.plan import Plan

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.weight = nn.Linear(5, 8), nn.Parameter(torch.randn(6, 8))
            self.b = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.ops.mynets.gated_linear(self.a(x), self.weight)
            return self.b(hidden)

    program = compressc.capture(Net().eval(), (torch.randn(2, 5),))
    groups = [g for g in compressc.couple(program).groups if g.pinned is None]
    assert sorted(group.size for group in groups) == [6, 8]
    keep = {group.name: np.arange(group.size) % 2 == 0 for group in groups}
    chosen = program.with_plan(Plan(keep=keep))
    x = torch.randn(4, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            compressc.lower(chosen).module()(x), compressc.masked(chosen)(x), rtol=1e-4, atol=1e-5
        )


def test_the_page_of_python_names_has_every_public_name() -> None:
    stub = (ROOT / "compiler" / "__init__.pyi").read_text()
    names = set(re.findall(r"from (\S+) import (\w+) as", stub))
    page = (ROOT / "docs" / "api.md").read_text()
    assert set(re.findall(r"^::: (\S+)\.(\w+)$", page, re.M)) == names


def test_the_site_leads_to_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name in site, f"{page.name} is in no menu of mkdocs.yml"
