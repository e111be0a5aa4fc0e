"""The walls of the house: who may import whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREFIXES = {
    "compiler": "compressc",
    "passes": "compressc.passes",
    "runtime": "compressc.runtime",
    "models": "compressc.models",
}
STANDARD = sys.stdlib_module_names


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def violations(folder: str, names: set[str]) -> list[str]:
    """Return the imports that ``folder`` may not make."""
    own = PREFIXES[folder]
    bad = []
    for name in names:
        top = name.partition(".")[0]
        inside = next(
            (f for f in ("passes", "runtime", "models") if name.startswith(f"compressc.{f}")),
            "compiler" if top == "compressc" else None,
        )
        if folder == "runtime":
            # onnx raises protobuf's errors, so catching them means importing them.
            allowed = top in STANDARD or top in {"numpy", "onnx", "onnxruntime", "google"}
            allowed = allowed or name.startswith(own) or name == "compressc"
        elif folder == "models":
            # The digits come with scikit-learn; everything else needs torch only.
            extra = {"torch", "numpy", "sklearn"}
            allowed = top in STANDARD or top in extra or name.startswith(own)
            allowed = allowed or name == "compressc"
        elif folder == "compiler":
            allowed = inside != "passes"
        else:
            allowed = True
        if not allowed:
            bad.append(name)
    return bad


@pytest.mark.parametrize("folder", PREFIXES)
def test_imports_respect_the_layers(folder: str) -> None:
    found = {
        str(path.relative_to(ROOT)): bad
        for path in sources(folder)
        if (bad := violations(folder, imported(path)))
    }
    assert found == {}


def test_the_walls_can_be_breached() -> None:
    assert violations("runtime", {"torch"}) == ["torch"]
    assert violations("runtime", {"compressc.plan"}) == ["compressc.plan"]
    assert violations("compiler", {"compressc.passes.magnitude"})
    assert violations("models", {"compressc.program"})


@pytest.mark.parametrize("folder", PREFIXES)
def test_no_file_is_named_for_nothing(folder: str) -> None:
    vague = {"utils", "helpers", "common", "misc"}
    assert [str(p) for p in sources(folder) if p.stem in vague] == []


def test_no_public_function_is_shadowed_by_a_module() -> None:
    import compressc

    modules = {path.stem for path in (ROOT / "compiler").glob("*.py")}
    modules |= {path.name for path in (ROOT / "compiler").iterdir() if path.is_dir()}
    assert modules & set(compressc.__all__) == set()


def test_prints_stay_in_the_command_line() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in PREFIXES
        for path in sources(folder)
        if re.search(r"^\s*print\(", path.read_text(), re.M)
        and "cli" not in path.parts
        and not path.stem.startswith("train_")
    ]
    assert found == []


@pytest.mark.parametrize("statement", ["import compressc", "import compressc.runtime"])
def test_light_imports_need_no_torch(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
