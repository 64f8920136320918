"""What is wrong with a suite's tables, in three lines: what, where, and what was meant."""

import difflib
import math
import re
from collections.abc import Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError

from kdbench.errors import UsageError

_DEEPEST = 16


def told(error: ValidationError, model: type[BaseModel], origin: str, text: str) -> UsageError:
    """An error of pydantic in our three lines, with the line in the file and a suggestion."""
    found = error.errors()
    # a misspelt key is also a missing one, but the spelling is what there is to say
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    path = [str(part) for part in first["loc"]]
    if path[:1] == ["by_pair"]:
        path = ["methods", *path]
    key = path[-1] if path else ""
    line = _line(text, path)
    where = f"{origin}, line {line}" if line else origin
    if first["type"] == "extra_forbidden":
        known = _fields(model, path[:-1])
        known += {(): ("extends",), ("train",): ("by_student",)}.get(tuple(path[:-1]), ())
        hint = meant(key, known, "known keys: ")
        what = f"unknown key {'.'.join(path)!r} in {where}"
        return UsageError(what, "a suite holds only known keys", hint)
    if first["type"] == "missing":
        return UsageError(f"{'.'.join(path)!r} is missing in {where}", "a suite needs it", "add it")
    bad = f"bad value for {'.'.join(path)!r} in {where}"
    got = repr(first["input"])
    why = first["msg"] + (f", got {got}" if len(got) < 60 else "")
    what = bad if path else f"{where} does not fit together"
    return UsageError(what, why, "see kdbench show digits")


def check_plain(value: object, depth: int = 0) -> None:
    """Refuse what TOML can say and no suite can mean.

    Raises:
        ValueError: It is nested deeply, a whole number of more than 64 bits, no number, or a date.
    """
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST}")
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            check_plain(part, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number has more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is the value of no key")
    elif not isinstance(value, (str, int, float)):
        raise ValueError(f"{value} is a date or a time, which no key has")


def meant(key: str, known: Sequence[str], said: str = "known: ") -> str:
    """Which of the known names was meant, or all of them."""
    close = difflib.get_close_matches(key, known, 1)
    return f"did you mean {close[0]!r}?" if close else said + ", ".join(known)


def _line(text: str, path: Sequence[str]) -> int:
    """Where the file says something of `path`: in its own table if that is there; 0 for nowhere."""
    rows = text.splitlines()
    table, key = ".".join(path[:-1]), path[-1] if path else ""
    heads = [row.strip().replace('"', "") for row in rows]
    start = heads.index(f"[{table}]") if table and f"[{table}]" in heads else 0
    named = re.compile(rf"\s*\[?{re.escape(key)}\b")
    return next((i for i, row in enumerate(rows[start:], start + 1) if named.match(row)), 0)


def _fields(model: type[BaseModel], path: Sequence[str]) -> tuple[str, ...]:
    """Keys that are known in the table at `path` of `model`."""
    kind: object = model
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(part)
            kind = field.annotation if field else None
        else:
            kind = get_args(kind)[-1] if get_args(kind) else None
    return (
        tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ()
    )
