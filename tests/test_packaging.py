"""What ships is what is on disk."""

import itertools
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "compressc": "compiler",
    "compressc.passes": "passes",
    "compressc.runtime": "runtime",
    "compressc.models": "models",
}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_on_disk() -> set[str]:
    found = set()
    for package, folder in FOLDERS.items():
        base = ROOT / folder
        for init in base.rglob("__init__.py"):
            inner = init.parent.relative_to(base).parts
            found.add(".".join((package, *inner)))
    return found


def test_listed_packages_are_the_folders_on_disk() -> None:
    listed = project()["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages_on_disk())


def test_the_mapping_is_the_customers_layout() -> None:
    assert project()["tool"]["setuptools"]["package-dir"] == FOLDERS


def test_no_folder_of_the_compiler_hides_a_layer() -> None:
    names = {path.name for path in (ROOT / "compiler").iterdir()}
    assert names & {"passes", "runtime", "models"} == set()
    assert names & {"passes.py", "runtime.py", "models.py"} == set()


def test_every_dependency_is_pinned_for_ci() -> None:
    pins = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    document = project()["project"]
    extras = itertools.chain.from_iterable(document["optional-dependencies"].values())
    wanted = [*document["dependencies"], *extras]
    for requirement in wanted:
        name = requirement.partition(">=")[0].partition("[")[0].lower()
        assert name in pins or name == "compressc", f"{name} is not in constraints.txt"


def test_every_registered_pass_can_be_loaded() -> None:
    from compressc.contract.declaration import Pass
    from compressc.contract.registry import find_pass, registered_passes

    declared = project()["project"]["entry-points"]["compressc.passes"]
    assert set(declared) <= set(registered_passes())
    for name in declared:
        found = find_pass(name)
        assert found.name == name
        assert isinstance(found(), Pass)


def test_readme_commands_are_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    ci = (ROOT / ".ci" / "run").read_text()
    assert "pytest -n 2" in readme
    assert "pytest -n 2" in ci
    assert 'pip install -c constraints.txt ".[test]"' in readme
    assert '-c constraints.txt ".[test]"' in ci
