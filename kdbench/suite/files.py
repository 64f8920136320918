"""Suite files: TOML in, tables out; `extends` merges."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from kdbench.errors import UsageError
from kdbench.record import read_plain
from kdbench.suite.mistakes import check_plain
from kdbench.suite.tables import Suite, validated

_NOT_INHERITED = {"name", "title", "about"}
"""What a suite says of itself is not true of another; its store goes by its name."""

_MOST = 128 << 10
"""Bytes of a file, ten times the largest that is shipped."""

_LINKS = 8

_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){16}""")
"""What the reader of TOML takes minutes for, where there are thousands of dots."""


def names() -> tuple[str, ...]:
    """Names of the shipped suites."""
    return tuple(
        sorted(
            entry.name[:-5]
            for entry in (files("kdbench") / "suites").iterdir()
            if entry.name.endswith(".toml")
        )
    )


def load(name: str) -> Suite:
    """The suite of this name, or in this TOML file.

    Raises:
        UsageError: No such suite, no TOML, an unknown key, a value of the wrong type or out of
            range.
    """
    text, data, origin = _read(name, Path(), ())
    return validated(data, origin, text)


def _read(name: str, folder: Path, seen: tuple[str, ...]) -> tuple[str, dict[str, Any], str]:
    """Text, merged tables and origin of a suite; `seen` guards against cycles of `extends`."""
    if name in names():
        origin = f"suite {name!r}"
        content = (files("kdbench") / "suites" / f"{name}.toml").read_bytes()
    else:
        path = folder / name
        if path.suffix != ".toml" or not path.is_file():  # no pipe, device or circle of links
            close = difflib.get_close_matches(name, names(), 1)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"shipped suites: {', '.join(names())}"
            )
            raise UsageError(
                f"no suite {name!r}", "expected a shipped suite's name or a .toml file", hint
            )
        origin, folder = str(path.resolve()), path.parent
        try:
            content = read_plain(Path(origin), _MOST)
        except OSError as error:
            raise UsageError(f"{origin} cannot be read", str(error), "mend the file") from error
    if origin in seen:
        circle = " -> ".join((*seen, origin))
        raise UsageError(f"suite {name!r} extends itself", circle, "remove one `extends`")
    if len(seen) == _LINKS:
        why = f"{seen[0]} leads there, by more than {_LINKS} `extends`"
        raise UsageError(f"suite {name!r} is not read", why, "join some of the suites")
    try:
        text = content.decode("utf-8")
        if _LONG_KEY.search(text):
            raise ValueError("a key has many more dots than any of a suite")
        data = tomllib.loads(text)
        check_plain(data)
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or a bomb
        raise UsageError(f"{origin} is not TOML", str(error), "mend the file") from error
    parent = data.pop("extends", None)
    if parent is not None:
        _, base, _ = _read(str(parent), folder, (*seen, origin))
        data = _merged({key: base[key] for key in base.keys() - _NOT_INHERITED}, data)
    return text, data, origin


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top; tables merge, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result
