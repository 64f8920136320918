"""What commands print: rich tables on a terminal; elsewhere plain lines without escape codes."""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

__all__ = ["heading", "is_terminal", "json_out", "line", "say", "table", "warn"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person looks at this stream (standard output by default)."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def clean(text: str) -> str:
    """The text without control characters: much of it was written by plugins."""
    return _CONTROL.sub("", text)


def line(text: str) -> str:
    """The text on one line: a plugin's error may have several, and a file's name too."""
    return " ".join(clean(text).split())


def say(text: str = "") -> None:
    """Print as it stands, without markup."""
    print(clean(text))


def warn(text: str) -> None:
    """Print one line on standard error."""
    print(f"warning: {clean(text)}", file=sys.stderr)


def heading(text: str) -> None:
    """Print a title."""
    if is_terminal():
        from rich.console import Console
        from rich.text import Text

        Console(highlight=False).print(Text(clean(text), style="bold"))
    else:
        say(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns."""
    cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    if is_terminal():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        shown = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in cells:
            shown.add_row(*map(Text, row))
        Console(highlight=False).print(shown)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def json_out(data: Any, warnings: Sequence[str] = ()) -> None:  # noqa: ANN401 - any JSON
    """Print JSON: the version of its schema, data and warnings."""
    whole = {"schema": 1, "data": data, "warnings": list(warnings)}
    print(json.dumps(whole, indent=1, ensure_ascii=True))
