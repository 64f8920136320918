"""What is declared is what is there: entry points, floors, the README's commands."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from kdbench.registry import Registry

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def project(kdbench_root: Path) -> dict[str, Any]:
    return tomllib.loads((kdbench_root / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def readme(kdbench_root: Path) -> str:
    return (kdbench_root / "README.md").read_text("utf-8")


def implements_hooks(path: Path) -> bool:
    functions = (
        node
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    )
    return any(
        ast.unparse(mark).partition("(")[0] == "hookimpl"
        for node in functions
        for mark in node.decorator_list
    )


def module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


def test_every_module_that_implements_a_hook_is_declared_and_nothing_else(
    kdbench_root: Path, project: dict[str, Any]
) -> None:
    root = kdbench_root / "plugins"
    found = sorted(module_name(path, root) for path in root.rglob("*.py") if implements_hooks(path))
    declared = project["project"]["entry-points"]["kdbench"]
    assert sorted(declared.values()) == found


def test_the_installed_distribution_declares_the_plugins_of_the_source(
    project: dict[str, Any],
) -> None:
    installed = [
        (p.name, p.value) for p in distribution("kdbench").entry_points if p.group == "kdbench"
    ]
    assert sorted(installed) == sorted(project["project"]["entry-points"]["kdbench"].items())


def test_names_are_unique_in_the_group() -> None:
    names = [point.name for point in entry_points(group="kdbench")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "package",
    ["kdbench", "kdbench_methods", "kdbench_datasets", "kdbench_models", "kdbench_transfers"],
)
def test_every_file_of_the_source_is_installed(package: str, kdbench_root: Path) -> None:
    source = kdbench_root / ("" if package == "kdbench" else "plugins") / package
    ours = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    ours = {path for path in ours if "__pycache__" not in path}
    installed = Path(str(files(package)))
    missing = {path for path in ours if not (installed / path).is_file()}
    assert ours
    assert not missing


def test_the_package_is_typed() -> None:
    assert (files("kdbench") / "py.typed").is_file()


def test_the_floors_forbid_plugins_every_module_that_is_not_theirs(
    kdbench_root: Path, project: dict[str, Any]
) -> None:
    source = kdbench_root / "kdbench"
    modules = {path.stem for path in source.glob("*.py")} | {
        path.parent.name for path in source.glob("*/__init__.py")
    }
    private = {
        f"kdbench.{name}"
        for name in modules - {"__init__", "__main__", "api", "functional", "errors"}
    }
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["name"].startswith("A plugin sees"))
    assert set(contract["forbidden_modules"]) == private


def test_no_contract_is_pierced(project: dict[str, Any]) -> None:
    assert not any(
        "ignore_imports" in contract for contract in project["tool"]["importlinter"]["contracts"]
    )


def test_the_readme_begins_with_the_commands_that_run_it_and_test_it(readme: str) -> None:
    blocks = FENCE.findall(readme)
    assert blocks[0].strip() == "python -m pip install '.[page]' && kdbench run"
    assert blocks[1].strip() == "python -m pip install tox && tox"


def test_the_readme_shows_exactly_the_commands_that_there_are(readme: str, tmp_path: Path) -> None:
    wide = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    ask = [sys.executable, "-m", "kdbench", "--help"]
    told = subprocess.run(
        ask, cwd=tmp_path, env=wide, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    commands = set(re.findall(r"^[\s│|]*([a-z]+(?:-[a-z]+)*)(?=\s{2,})", told, re.MULTILINE))
    code = "\n".join(re.findall(r"`([^`\n]+)`", readme) + FENCE.findall(readme))
    assert set(re.findall(r"kdbench ([a-z]+(?:-[a-z]+)*)\b", code)) == commands


def test_the_readme_names_every_method_that_ships_in_its_family(
    readme: str, kdbench_registry: Registry
) -> None:
    table = readme.partition("| family | methods |")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    shown = {name.strip(): row[0].split()[-1] for row in rows for name in row[1].split(",")}
    words = {"rows": "relations", "itself": "function", "side": "teacher"}
    ours = {
        entry.name: entry.family
        for entry in kdbench_registry.entries
        if entry.kind == "method" and entry.source.first_party
    }
    assert {name: words.get(word, word) for name, word in shown.items()} == ours
