"""Source files -> hashes of what they mean: what a module reaches, and its code. No import.

The fingerprint of a plugin's code covers the syntax trees (without docstrings, comments and
positions) of its module, of every module of its own top-level package that it imports, however
indirectly, and of the functions of `kdbench.functional` that these import, with those they call.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Memo", "Reached", "claims", "reach"]

Memo: TypeAlias = MutableMapping[str, Any]
"""What was found in a file, as JSON, by its SHA-256: parsing costs more than hashing."""

_FUNCTIONAL = "kdbench.functional"
_HOST = Path(__file__).parents[1]
_HOOKS = {f"kdbench_{kind}s": kind for kind in ("model", "dataset", "transfer", "method", "metric")}


@dataclass(frozen=True, slots=True)
class Reached:
    """What a module's code comes to.

    Attributes:
        digest: SHA-256 over the bytes of all files reached.
        code: Fingerprint of the code.
        claims: The (kind, name) pairs that can be read off the module's own hooks.
    """

    digest: str
    code: str
    claims: tuple[tuple[str, str], ...]


def _sha(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def normalised(node: object) -> str:
    """The syntax tree as text that no comment, docstring, position or version of Python changes."""
    if isinstance(node, list):
        kept = (item for item in node if not _is_text(item))
        return "[" + ",".join(normalised(item) for item in kept) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (
        f"{name}={normalised(value)}"
        for name, value in ast.iter_fields(node)
        if value is not None and value != [] and name not in {"ctx", "kind", "type_comment"}
    )
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text(node: object) -> bool:
    """Whether a statement is a lone string: a docstring, or documentation of an attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.AST) -> Iterator[tuple[int, str, list[str]]]:
    """Level, module and names of every import statement, those inside of functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def _yielded(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The (kind, name) pairs that the module's hooks yield literally."""
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name in _HOOKS:
            for node in ast.walk(function):
                first = node.elts[0] if isinstance(node, ast.Tuple) and node.elts else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield _HOOKS[function.name], first.value


def _read(content: bytes, memo: Memo) -> dict[str, Any]:
    """Tree's hash, imports, attributes (where all of `functional` is imported) and claims."""
    key = _sha(content)
    if key not in memo:
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError):
            # reported when the child imports it; a compiled module has no tree at all
            memo[key] = {"tree": key, "imports": [], "attributes": [], "claims": []}
            return dict(memo[key])
        found = list(_imports(tree))
        whole = any(
            (m == _FUNCTIONAL and not n) or (m == "kdbench" and "functional" in n)
            for _, m, n in found
        )
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        memo[key] = {
            "tree": _sha(normalised(tree)),
            "imports": [list(item) for item in found],
            "attributes": sorted(used) if whole else [],
            "claims": [list(claim) for claim in _yielded(tree)],
        }
    return dict(memo[key])


def _definitions(memo: Memo) -> dict[str, Any]:
    """Hash and referenced names of every top-level definition of `kdbench.functional`, by name."""
    single = _HOST / "functional.py"
    files = [single] if single.exists() else sorted((_HOST / "functional").glob("*.py"))
    content = b"\0".join(file.read_bytes() for file in files)
    key = "functional:" + _sha(content)
    if key not in memo:
        found: dict[str, Any] = {}
        for file in files:
            for node in ast.parse(file.read_bytes()).body:
                refers = sorted({name.id for name in ast.walk(node) if isinstance(name, ast.Name)})
                for name in _defined(node):
                    found[name] = [_sha(normalised(node)), refers]
        memo[key] = found
    return dict(memo[key])


def _defined(node: ast.stmt) -> list[str]:
    """Names that a top-level statement binds, imports left out."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _functions(names: Iterable[str], memo: Memo) -> list[list[str]]:
    """Name and hash of these functions of `kdbench.functional` and of all those they call."""
    known, todo, out = _definitions(memo), list(names), {}
    while todo:
        name = todo.pop()
        if name in known and name not in out:
            out[name], refers = known[name]
            todo += refers
    return [list(item) for item in sorted(out.items())]


def _locate(module: str, base: Path) -> Path | None:
    """The file of a dotted module below the folder `base`, if it is there."""
    stem = base.joinpath(*module.split("."))
    places = (stem / "__init__.py", stem.with_name(stem.name + ".py"))
    return next((place for place in places if place.is_file()), None)


def _targets(module: str, package: bool, level: int, name: str, names: list[str]) -> Iterator[str]:
    """Dotted names of modules that an import in `module` may import, parents included."""
    if level:
        parents = module.split(".")[: None if package and level == 1 else -(level - package)]
        name = ".".join([*parents, *([name] if name else [])])
    parts = name.split(".") if name else []
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))
    yield from (".".join([*parts, last]) for last in names)


def reach(module: str, path: Path, memo: Memo, *, file: bool = False) -> Reached:
    """Digest, fingerprint and claims of the module at `path`.

    Args:
        module: Dotted name; for a one-file plugin its stem.
        path: Of its file.
        memo: Filled with what was parsed.
        file: Whether it is a one-file plugin: then the files beside it count as its package.
    """
    parts = module.split(".")
    base = path.parents[len(parts) - 1 + (path.name == "__init__.py")]
    lone = not file and path.name != "__init__.py" and _locate(parts[0], base) == path
    bytes_of, trees, functions = {}, {}, set[str]()
    todo = [(".".join(parts[: i + 1]), None) for i in range(len(parts) - 1)] + [(module, path)]
    while todo:
        name, place = todo.pop()
        top = name.split(".")[0]
        if name in trees or (top == "kdbench" if file else top != parts[0]):
            continue  # a file that lies in a checkout of the host does not own the host
        place = place or (None if lone else _locate(name, base))
        if place is None:
            continue
        content = place.read_bytes()
        read = _read(content, memo)
        bytes_of[name], trees[name] = _sha(content), read["tree"]
        functions |= set(read["attributes"])
        for level, origin, names in read["imports"]:
            if origin == _FUNCTIONAL:
                functions |= _definitions(memo).keys() if "*" in names else set(names)
            targets = _targets(name, place.name == "__init__.py", level, origin, names)
            todo += [(target, None) for target in targets if target not in trees]
    code = _sha(repr([sorted(trees.items()), _functions(functions, memo)]))
    return Reached(_sha(repr(sorted(bytes_of.items()))), code, claims(path, memo))


def claims(path: Path, memo: Memo) -> tuple[tuple[str, str], ...]:
    """The (kind, name) pairs that the file's hooks yield literally."""
    return tuple((kind, name) for kind, name in _read(path.read_bytes(), memo)["claims"])
