"""The pictures of docs/house.md are held to the code: the floors, and the way of a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import compressc.compression as page

ROOT = Path(__file__).parents[1]
HOUSE = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
PREFIXES = {"compiler": "compressc", "passes": "compressc.passes"}
FRONT_DOOR = {"__init__", "architecture_search", "compression", "demo"}


def floors(folder: str) -> dict[str, int]:
    """Return the floor of every room, as the table of a folder in docs/house.md says."""
    table = HOUSE.split(f"<!-- floors of {folder} -->")[1].split("<!--")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if re.match(r"\| -?\d+ ", line)]
    return {room.strip(" `"): int(floor) for floor, rooms in rows for room in rooms.split(",")}


def modules(folder: str) -> dict[str, Path]:
    names = {}
    for path in (ROOT / folder).rglob("*.py"):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        names[".".join([PREFIXES[folder], *parts]).removesuffix(".__init__")] = path
    return names


def room_of(folder: str, path: Path) -> str:
    parts = path.relative_to(ROOT / folder).with_suffix("").parts
    if len(parts) > 1:
        return parts[0]
    if folder == "passes":
        return "single passes"
    if parts[0] == "__main__":
        return "cli"
    return "front door" if parts[0] in FRONT_DOOR else "nouns"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def climbing(folder: str) -> set[str]:
    """Return the imports that do not lead down: "module -> module"."""
    known, floor = modules(folder), floors(folder)
    found = set()
    for name, path in known.items():
        for target in imports(path):
            home = target if target in known else target.rpartition(".")[0]
            if home not in known:
                continue
            here, there = room_of(folder, path), room_of(folder, known[home])
            if here != there and floor[there] >= floor[here]:
                found.add(f"{name} ({here}) -> {home} ({there})")
    return found


def test_imports_lead_down_in_the_compiler() -> None:
    assert climbing("compiler") == set()


def test_imports_lead_down_in_the_passes() -> None:
    assert climbing("passes") == set()


def test_every_room_stands_in_the_table() -> None:
    for folder in PREFIXES:
        rooms = {room_of(folder, path) for path in modules(folder).values()}
        assert rooms == set(floors(folder)), folder


def test_the_way_of_a_model_is_the_pipeline() -> None:
    drawn = re.findall(r"^    \w+\[(\w+)\]", HOUSE.split("<!-- way -->")[1], re.M)
    stages = (*page.RECIPE, *page.PROOF, *page.FILE, *page.FINDINGS)
    assert drawn == [stage.work.__name__ for stage in stages]


def test_files_are_small() -> None:
    sizes = sorted(
        len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("compiler", "passes", "runtime", "models")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert sizes[-1] <= 350
    assert sizes[len(sizes) // 2] <= 120
