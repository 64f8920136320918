"""Suites from strangers: TOML that is bent, torn, huge, deep or leads elsewhere."""

import os
import random
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hostile_trees import CHANGES, DAMAGE, bent, torn
from hypothesis import strategies as st

from kdbench import suite
from kdbench.record import write_atomically


@cache
def shipped() -> dict[str, bytes]:
    """Content of the shipped suites by name."""
    return {
        name: (files("kdbench") / "suites" / f"{name}.toml").read_bytes() for name in suite.names()
    }


def toml(value: Any) -> str:
    """A value as TOML, inline; what TOML cannot hold as what breaks it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 2**63:
        return hex(value) if value > 0 else f"-{-value}"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        inner = "".join(
            char if char.isascii() and char.isprintable() and char not in '"\\'
            else f"\\U{ord(char):08x}" for char in value
        )  # fmt: skip
        return f'"{inner}"'
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{toml(key)} = {toml(one)}" for key, one in value.items()) + "}"
    return "null"


def document(tree: dict[str, Any]) -> bytes:
    """A table as a file."""
    lines = [f"{toml(key)} = {toml(value)}" for key, value in tree.items()]
    return "\n".join(lines).encode()


def loaded(path: Path) -> None:
    """Read a suite as a run does before it is planned."""
    found = suite.load(str(path))
    for _, one in found.varied():
        assert one.axes.methods
    found.beside()


def damaged(value: Any, folder: Path) -> None:
    """A torn file."""
    name, damage = value
    write_atomically(folder / "x.toml", torn(shipped()[name], damage))
    loaded(folder / "x.toml")


def changed(value: Any, folder: Path) -> None:
    """A file whose tables are bent."""
    name, changes = value
    tree = bent(tomllib.loads(shipped()[name].decode()), changes)
    write_atomically(folder / "x.toml", document(tree))
    loaded(folder / "x.toml")


def planned(value: Any, folder: Path) -> None:
    """A suite up to its plan."""
    from hostile_records import registry

    from kdbench import plan

    name, changes = value
    write_atomically(
        folder / "x.toml", document(bent(tomllib.loads(shipped()[name].decode()), changes))
    )
    found = suite.load(str(folder / "x.toml"))
    plan.make(found, registry(), (), "")


def bombed(value: Any, folder: Path) -> None:
    """A file that is small to write and large to read, or none at all."""
    path = folder / "x.toml"
    digits = shipped()["digits"].decode()
    BOMBS[value](path, digits)
    loaded(path)
    raise AssertionError(f"{value} is read")


def _deep(opening: str) -> Any:
    return lambda path, digits: path.write_text(f"x = {opening * 30_000}")


def _chain(path: Path, digits: str) -> None:
    for place in range(2000):
        path.with_name(f"{place}.toml").write_text(f'extends = "{place + 1}.toml"\n')
    path.write_text('extends = "0.toml"\nname = "x"\n')


def _circle(path: Path, digits: str) -> None:
    path.with_name("y.toml").write_text('extends = "./x.toml"\n')
    path.write_text('extends = "y.toml"\nname = "x"\n')


def _link_circle(path: Path, digits: str) -> None:
    path.symlink_to(path.with_name("y.toml"))
    path.with_name("y.toml").symlink_to(path)


def _linked_parent(path: Path, digits: str) -> None:
    path.with_name("pipe.toml").symlink_to(path.with_name("pipe"))
    os.mkfifo(path.with_name("pipe"))
    path.write_text('extends = "pipe.toml"\nname = "x"\n')


def _sparse(path: Path, digits: str) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)


def _text(text: str, *, digits: bool = False) -> Any:
    return lambda path, shipped: path.write_text((shipped if digits else "") + text)


def _axes(text: str) -> Any:
    return _text(f'extends = "digits"\nname = "x"\n[axes]\n{text}')


def _bytes(made: Any) -> Any:
    return lambda path, shipped: path.write_bytes(made(shipped))


_PAIRS = ",".join(f'"resnet8:resnet8[width={i}]"' for i in range(1, 900))
BOMBS: dict[str, Any] = {
    "arrays": _deep("["),
    "tables": _deep("{a="),
    "a dotted key": _text("a." * 60_000 + "a = 1"),
    "a quoted dotted key": _text('"a"  .' * 20_000 + "a = 1"),
    "dotted heads": _text("[" + "a." * 60_000 + "a]"),
    "keys": _text("\n".join(f"k{i} = 1" for i in range(9000)), digits=True),
    "variants": _text("\n".join(f"[variants.v{i}]" for i in range(6000)), digits=True),
    "a tower of digits": _text(f"x = {'9' * 100_000}"),
    "a tower of hex digits": _text(f"x = 0x{'f' * 100_000}"),
    "seeds": _axes("seeds = 1_000_000_000"),
    "negative seeds": _axes("seeds = -1"),
    "a truth for seeds": _axes("seeds = true"),
    "hex seeds": _axes(f"seeds = 0x{'f' * 90_000}"),
    "listed seeds": _axes(f"seeds = {list(range(15_000))}"),
    "a crossing": _axes(f'seeds = 9999\nmethods = ["kd", "scratch"]\npairs = [{_PAIRS}]'),
    "lists for variants": _axes("variants = [[1]]\n[variants.a]"),
    "a chain": _chain,
    "a circle": _circle,
    "a circle of links": _link_circle,
    "a pipe for a parent": _linked_parent,
    "a directory": lambda path, digits: path.mkdir(),
    "a pipe": lambda path, digits: os.mkfifo(path),
    "a device": lambda path, digits: path.symlink_to("/dev/zero"),
    "nothing": _text(""),
    "NUL": _bytes(lambda digits: bytes(1000)),
    "junk": _bytes(lambda digits: random.Random(0).randbytes(10_000)),
    "UTF-16": _bytes(lambda digits: digits.encode("utf-16")),
    "Latin": _bytes(lambda digits: f"{digits}# é".encode("latin-1")),
    "a mark of byte order": _bytes(lambda digits: f"\ufeff{digits}".encode()),
    "100 MB": _sparse,
    "a parent elsewhere": _text('extends = "/etc/passwd"\nname = "x"'),
    "a parent above": _text('extends = "../../../secret.json"\nname = "x"'),
    "NaN": _text("\n[methods.kd.set]\nalpha = nan", digits=True),
    "a date": _text("\n[methods.kd.set]\nalpha = 2020-01-01", digits=True),
    "a table for an option": _text("\n[methods.kd.set.alpha]\nx = 1", digits=True),
}  # fmt: skip
"""Each writes a file; all are refused."""

_NAMES = st.sampled_from(sorted(shipped()))
TARGETS = {
    "suites, torn": (st.tuples(_NAMES, DAMAGE), damaged),
    "suites, bent": (st.tuples(_NAMES, CHANGES), changed),
    "suites, planned": (st.tuples(_NAMES, CHANGES), planned, 0.02),
    "suites, bombs": (st.sampled_from(sorted(BOMBS)), bombed, 0.2),
}
