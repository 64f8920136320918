"""A method fits on one screen, and what methods share is shared by at least two of them."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from kdbench import functional

LINES = 60


def plugins(root: Path) -> list[Path]:
    return sorted((root / "plugins" / "kdbench_methods").glob("*.py"))


def documentation(node: ast.AST) -> int:
    """Lines of the docstrings in a class."""
    found = 0
    for inner in ast.walk(node):
        if isinstance(inner, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(inner):
            text = inner.body[0]
            found += (text.end_lineno or text.lineno) - text.lineno + 1
    return found


def test_a_method_s_class_is_at_most_sixty_lines_without_docstrings(kdbench_root: Path) -> None:
    sizes = {
        node.name: (node.end_lineno or 0) - node.lineno + 1 - documentation(node)
        for path in plugins(kdbench_root)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert len(sizes) > 50
    assert {name: size for name, size in sizes.items() if size > LINES} == {}


def test_a_plugin_module_is_at_most_250_lines(kdbench_root: Path) -> None:
    sizes = {path.name: len(path.read_text("utf-8").splitlines()) for path in plugins(kdbench_root)}
    assert {name: size for name, size in sizes.items() if size > 250} == {}


def test_what_is_in_functional_is_used_by_at_least_two_plugins(kdbench_root: Path) -> None:
    users = Counter(
        alias.name
        for path in plugins(kdbench_root)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "kdbench.functional"
        for alias in node.names
    )
    assert {name for name in functional.__all__ if users[name] < 2} == set()


@pytest.mark.parametrize("name", functional.__all__)
def test_every_shared_function_has_a_doctest(name: str) -> None:
    assert ">>>" in (getattr(functional, name).__doc__ or "")
